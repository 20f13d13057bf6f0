//! An allocator that counts what threads under watch ask for, and keeps where they did.
#![allow(unsafe_code)] // The trait wants it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Places that are kept.
const KEPT: usize = 40;

pub struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);
static PLACES: Mutex<Vec<Backtrace>> = Mutex::new(Vec::new());

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
}

/// One test at a time: all count on one counter.
pub static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// From now on this thread is counted.
pub fn watch() {
    WATCHED.set(true);
}

fn places() -> MutexGuard<'static, Vec<Backtrace>> {
    PLACES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins to count anew.
pub fn begin() {
    places().clear();
    COUNT.store(0, Ordering::SeqCst);
}

/// Allocations since then.
pub fn count() -> u64 {
    COUNT.load(Ordering::SeqCst)
}

/// Where they were, as far as it was kept: the frames of this crate and of the product.
pub fn told() -> String {
    let of_ours = |frame: &&str| frame.contains("./src/") || frame.contains("trunkline::");
    let place = |trace: &Backtrace| {
        let text = trace.to_string();
        let lines: Vec<&str> = text.lines().filter(of_ours).map(str::trim).take(6).collect();
        lines.join("\n  ")
    };
    let places: Vec<String> = places().iter().map(place).collect();
    places.join("\n")
}

fn note() {
    // A thread that ends has no cell any more.
    if WATCHED.try_with(|watched| watched.replace(false)).unwrap_or(false) {
        COUNT.fetch_add(1, Ordering::SeqCst);
        let mut places = places();
        if places.len() < KEPT {
            places.push(Backtrace::force_capture());
        }
        WATCHED.set(true);
    }
}

// SAFETY: everything is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        unsafe { System.realloc(pointer, layout, size) }
    }
}
