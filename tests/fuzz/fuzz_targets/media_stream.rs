#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| trunkline_fuzz::media_stream::run(data));
