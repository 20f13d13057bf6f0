//! Finds flite's static libraries and links them in.
//!
//! Looked for in this order: `FLITE_LIB_DIR`, `.cache/flite` (a Debian package unpacked with `dpkg -x`, or the
//! libraries themselves), the system's library folder of the target, `/usr/lib`.

use std::env;
use std::path::{Path, PathBuf};

/// Voices first: each library needs symbols of the ones after it.
const LIBRARIES: [&str; 5] = ["flite_cmu_us_slt", "flite_cmu_us_kal16", "flite_usenglish", "flite_cmulex", "flite"];

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let target = env::var("TARGET").unwrap_or_default();
    let named = env::var_os("FLITE_LIB_DIR").map(PathBuf::from);
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=FLITE_LIB_DIR");
    // A path that does not exist would count as changed at every build.
    let unpacked = manifest.join(".cache/flite");
    if unpacked.exists() {
        println!("cargo:rerun-if-changed={}", unpacked.display());
    }

    let places = places(named, &unpacked, &multiarch(&target));
    let Some(folder) = places.iter().find(|place| holds_all(place)) else {
        println!("cargo::error={}", missing(&places));
        return;
    };
    println!("cargo:rustc-link-search=native={}", folder.display());
    for library in LIBRARIES {
        println!("cargo:rerun-if-changed={}", folder.join(format!("lib{library}.a")).display());
        println!("cargo:rustc-link-lib=static={library}");
    }
    println!("cargo:rustc-link-lib=m");
}

/// Debian's folder name of a target: `x86_64-unknown-linux-musl` → `x86_64-linux-gnu`.
fn multiarch(target: &str) -> String {
    let machine = target.split('-').next().unwrap_or_default();
    let abi = if machine.starts_with("arm") { "gnueabihf" } else { "gnu" };
    let machine = if machine.starts_with("arm") { "arm" } else { machine };
    format!("{machine}-linux-{abi}")
}

/// Every folder to try, best first. A folder that the builder named is the only one tried.
fn places(named: Option<PathBuf>, cache: &Path, multiarch: &str) -> Vec<PathBuf> {
    if let Some(named) = named {
        return vec![named];
    }
    vec![
        cache.join("usr/lib").join(multiarch),
        cache.join(multiarch),
        cache.to_path_buf(),
        Path::new("/usr/lib").join(multiarch),
        PathBuf::from("/usr/lib"),
    ]
}

fn holds_all(folder: &Path) -> bool {
    LIBRARIES.iter().all(|library| folder.join(format!("lib{library}.a")).is_file())
}

fn missing(places: &[PathBuf]) -> String {
    let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
    format!(
        "flite's static libraries were not found in {}; run `make setup` or `apt-get install flite1-dev` \
         (another place: FLITE_LIB_DIR=/folder/with/libflite.a)",
        places.join(", ")
    )
}
