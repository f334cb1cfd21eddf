#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stolos_core::network::fuzzing::objects(bytes));
