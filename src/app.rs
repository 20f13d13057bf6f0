//! Composition root: builds, starts, drains and stops; the only file that knows every room.
