#![no_main]

use stolos_dataplane::proxy_protocol::{Error, MAX_HEADER, Origin, read, write};

// Refused, asking for more than there is, or a header within its bounds that reads the same when it is written again.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| match read(bytes) {
    Ok(header) => {
        assert!(header.n_bytes <= bytes.len() && header.n_bytes <= MAX_HEADER);
        assert_eq!(read(&bytes[..header.n_bytes]), Ok(header));
        if let Origin::Proxied { source, destination } = header.origin {
            let Ok(again) = read(&write(source, destination)) else { panic!("what we write is refused") };
            let Origin::Proxied { source: from, destination: to } = again.origin else {
                panic!("a forwarded connection reads as local");
            };
            assert_eq!(from.ip().to_canonical(), source.ip().to_canonical());
            assert_eq!(to.ip().to_canonical(), destination.ip().to_canonical());
            assert_eq!((from.port(), to.port()), (source.port(), destination.port()));
        }
    }
    Err(Error::Incomplete(needed)) => assert!(needed > bytes.len() && needed <= MAX_HEADER),
    Err(_) => {}
});
