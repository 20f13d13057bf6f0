//! The only module that calls C: flite 2.2 with the voices `slt` and `kal16`, linked in by `build.rs`.
//!
//! flite keeps global state (dictionary, error jump) without locks, so all calls go through one mutex and the voices
//! are registered once for the life of the process. What flite returns is copied and freed at once.

#![allow(unsafe_code)]

use std::ffi::{CString, c_char, c_int, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::super::Voice;

/// `cst_wave` of flite's `cst_wave.h`.
#[repr(C)]
struct Wave {
    kind: *const c_char,
    sample_rate: c_int,
    num_samples: c_int,
    num_channels: c_int,
    samples: *mut i16,
}

unsafe extern "C" {
    fn flite_init() -> c_int;
    fn register_cmu_us_slt(folder: *const c_char) -> *mut c_void;
    fn register_cmu_us_kal16(folder: *const c_char) -> *mut c_void;
    fn flite_text_to_wave(text: *const c_char, voice: *mut c_void) -> *mut Wave;
    fn delete_wave(wave: *mut Wave);
}

/// The registered voices; null until first used, null for good when flite could not make one.
struct Loaded {
    slt: *mut c_void,
    kal: *mut c_void,
}

// SAFETY: the pointers are only used under the mutex below, and flite ties no voice to a thread.
unsafe impl Send for Loaded {}

static LOADED: Mutex<Option<Loaded>> = Mutex::new(None);

/// Samples and rate of `text`, or `None` when flite makes nothing of it. `text` must be plain ASCII without NUL and of
/// sentence length: `super::text` sees to that.
pub(super) fn synthesise(text: &str, voice: Voice) -> Option<(Vec<i16>, u32)> {
    let text = CString::new(text).ok()?;
    let mut guard = lock();
    let loaded = guard.get_or_insert_with(load);
    let voice = match voice {
        Voice::Slt => loaded.slt,
        Voice::Kal => loaded.kal,
    };
    if voice.is_null() {
        return None;
    }
    // SAFETY: `text` is NUL-terminated and outlives the call; `voice` was made by flite; the mutex is held.
    let wave = unsafe { flite_text_to_wave(text.as_ptr(), voice) };
    // SAFETY: flite returns null or a wave that is ours until `delete_wave`.
    let spoken = unsafe { wave.as_ref() }.and_then(copy);
    if !wave.is_null() {
        // SAFETY: `wave` came from flite, is freed once, and the borrow above has ended.
        unsafe { delete_wave(wave) };
    }
    spoken
}

fn copy(wave: &Wave) -> Option<(Vec<i16>, u32)> {
    let count = usize::try_from(wave.num_samples).ok()?;
    let rate = u32::try_from(wave.sample_rate).ok().filter(|rate| *rate > 0)?;
    if wave.samples.is_null() || wave.num_channels != 1 {
        return None;
    }
    // SAFETY: flite allocated `num_samples * num_channels` samples there.
    let samples = unsafe { std::slice::from_raw_parts(wave.samples, count) };
    Some((samples.to_vec(), rate))
}

fn load() -> Loaded {
    // SAFETY: called once, under the mutex; a null folder means "the voice that is linked in".
    unsafe {
        flite_init();
        Loaded { slt: register_cmu_us_slt(std::ptr::null()), kal: register_cmu_us_kal16(std::ptr::null()) }
    }
}

// A panic cannot happen while the lock is held between flite's calls; a poisoned lock still guards valid pointers.
fn lock() -> MutexGuard<'static, Option<Loaded>> {
    LOADED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Symbols that flite refers to and that Trunkline never uses: its sound-card output.
mod sound_card {
    use std::ffi::c_int;

    macro_rules! absent {
        ($($name:ident),*) => { $(
            // SAFETY: nothing else defines these names; flite calls them only to play to a sound card.
            #[unsafe(no_mangle)]
            extern "C" fn $name() -> c_int { -1 }
        )* };
    }

    absent!(
        audio_open_alsa,
        audio_close_alsa,
        audio_write_alsa,
        audio_flush_alsa,
        audio_drain_alsa,
        audio_set_sample_rate_alsa
    );
}

/// What Debian's build of flite takes from glibc and musl does not have: the checked forms, mapped to the plain ones.
///
/// A `va_list` is passed as a pointer by the C ABI of both x86-64 and AArch64, so it can be handed on as one.
#[cfg(target_env = "musl")]
mod glibc {
    use std::ffi::{c_char, c_int, c_void};

    unsafe extern "C" {
        fn vsprintf(text: *mut c_char, format: *const c_char, arguments: *mut c_void) -> c_int;
        fn vfprintf(file: *mut c_void, format: *const c_char, arguments: *mut c_void) -> c_int;
        fn memmove(to: *mut c_void, from: *const c_void, count: usize) -> *mut c_void;
        fn strcat(to: *mut c_char, from: *const c_char) -> *mut c_char;
        fn read(file: c_int, to: *mut c_void, count: usize) -> isize;
        fn longjmp(place: *mut c_void, value: c_int) -> !;
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn __vsprintf_chk(
        text: *mut c_char,
        _flag: c_int,
        _room: usize,
        format: *const c_char,
        arguments: *mut c_void,
    ) -> c_int {
        // SAFETY: the caller's own arguments.
        unsafe { vsprintf(text, format, arguments) }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn __vfprintf_chk(
        file: *mut c_void,
        _flag: c_int,
        format: *const c_char,
        arguments: *mut c_void,
    ) -> c_int {
        // SAFETY: the caller's own arguments.
        unsafe { vfprintf(file, format, arguments) }
    }

    /// Only flite's debugging prints; nothing of it is wanted.
    #[unsafe(no_mangle)]
    extern "C" fn __printf_chk(_flag: c_int, _format: *const c_char) -> c_int {
        0
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn __memmove_chk(
        to: *mut c_void,
        from: *const c_void,
        count: usize,
        _room: usize,
    ) -> *mut c_void {
        // SAFETY: the caller's own arguments.
        unsafe { memmove(to, from, count) }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn __strcat_chk(to: *mut c_char, from: *const c_char, _room: usize) -> *mut c_char {
        // SAFETY: the caller's own arguments.
        unsafe { strcat(to, from) }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn __read_chk(file: c_int, to: *mut c_void, count: usize, _room: usize) -> isize {
        // SAFETY: the caller's own arguments.
        unsafe { read(file, to, count) }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn __longjmp_chk(place: *mut c_void, value: c_int) -> ! {
        // SAFETY: the caller's own arguments.
        unsafe { longjmp(place, value) }
    }

    #[unsafe(no_mangle)]
    extern "C" fn __gcc_personality_v0() -> c_int {
        -1
    }
}
