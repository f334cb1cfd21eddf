#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stolos_dns::fuzzing::dns(bytes));
