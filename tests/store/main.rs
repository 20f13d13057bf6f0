//! The store under kill and a full disk: one file a subject.

mod crash;
mod full_disk;
