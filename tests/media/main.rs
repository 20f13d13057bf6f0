//! Legs on real sockets and in virtual time: one file a subject.

mod media_stage;

mod blend;
mod changes;
mod codecs;
mod leg;
mod packet_times;
mod srtp;
mod wire;
