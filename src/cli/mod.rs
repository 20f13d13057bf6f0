//! The command line: serve, check, demo, admin.
