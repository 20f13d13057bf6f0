//! Free space where the state lies.

use std::path::Path;

/// Below this the store, recordings and transcripts are in danger, MiB.
pub const LEAST_FREE_MIB: u64 = 64;

/// `Err` is the operator's sentence: less than `least_mib` is free under `folder`, or it cannot be asked.
pub fn enough(folder: &Path, least_mib: u64) -> Result<(), String> {
    let space = nix::sys::statvfs::statvfs(folder)
        .map_err(|error| format!("free space of {} is unknown: {error}", folder.display()))?;
    // The fields are narrower on some targets.
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
    let free_mib = (space.blocks_available() as u64).saturating_mul(space.fragment_size() as u64) >> 20;
    if free_mib < least_mib {
        return Err(format!("only {free_mib} MiB are free under {}; {least_mib} MiB are needed", folder.display()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_or_missing_disk_is_said() {
        let folder = std::env::temp_dir();
        assert_eq!(enough(&folder, 0), Ok(()));
        assert!(enough(&folder, u64::MAX).expect_err("never so much").contains("MiB are free"));
        assert!(enough(Path::new("/no/such/folder"), 0).is_err());
    }
}
