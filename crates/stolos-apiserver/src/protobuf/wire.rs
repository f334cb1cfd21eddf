//! The wire format: tags, variable-length numbers, lengths.

use super::Problem;

/// Groups are long out of use; nobody nests them.
const MAX_GROUP_DEPTH: usize = 16;

/// The value of one field as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payload<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    /// Text, bytes, a message or packed numbers.
    Bytes(&'a [u8]),
}

/// Reads a message field by field.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Returns the next field with its number, `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u32, Payload<'a>)>, Problem> {
        while !self.rest.is_empty() {
            let (number, wire_type) = self.tag()?;
            if let Some(payload) = self.payload(number, wire_type, MAX_GROUP_DEPTH)? {
                return Ok(Some((number, payload)));
            }
        }
        Ok(None)
    }

    /// Reads a number of 7 bits per byte.
    pub(super) fn varint(&mut self) -> Result<u64, Problem> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or(Problem::Truncated)?;
            self.rest = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Problem::Broken)
    }

    pub(super) fn fixed64(&mut self) -> Result<u64, Problem> {
        let bytes = self.take(8)?;
        Ok(u64::from_le_bytes(bytes.try_into().expect("eight bytes were taken")))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn tag(&mut self) -> Result<(u32, u64), Problem> {
        let tag = self.varint()?;
        match u32::try_from(tag >> 3) {
            Ok(number @ 1..) => Ok((number, tag & 7)),
            _ => Err(Problem::Broken),
        }
    }

    /// Reads a value. Groups are skipped and give `None`.
    fn payload(
        &mut self,
        number: u32,
        wire_type: u64,
        depth: usize,
    ) -> Result<Option<Payload<'a>>, Problem> {
        Ok(Some(match wire_type {
            0 => Payload::Varint(self.varint()?),
            1 => Payload::Fixed64(self.fixed64()?),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Problem::Truncated)?;
                Payload::Bytes(self.take(length)?)
            }
            3 => {
                self.skip_group(number, depth)?;
                return Ok(None);
            }
            5 => {
                let bytes = self.take(4)?;
                Payload::Fixed32(u32::from_le_bytes(
                    bytes.try_into().expect("four bytes were taken"),
                ))
            }
            _ => return Err(Problem::Broken),
        }))
    }

    fn skip_group(&mut self, group: u32, depth: usize) -> Result<(), Problem> {
        let depth = depth.checked_sub(1).ok_or(Problem::TooDeep)?;
        loop {
            match self.tag()? {
                (number, 4) if number == group => return Ok(()),
                (number, wire_type) => self.payload(number, wire_type, depth)?,
            };
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Problem> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Problem::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(bytes: &[u8]) -> Result<Vec<(u32, Payload<'_>)>, Problem> {
        let mut reader = Reader::new(bytes);
        std::iter::from_fn(|| reader.next().transpose()).collect()
    }

    #[test]
    fn every_wire_type_is_read() {
        let bytes =
            [0x08, 0x96, 0x01, 0x11, 1, 0, 0, 0, 0, 0, 0, 0, 0x1a, 2, b'h', b'i', 0x25, 2, 0, 0, 0];
        let want = vec![
            (1, Payload::Varint(150)),
            (2, Payload::Fixed64(1)),
            (3, Payload::Bytes(b"hi")),
            (4, Payload::Fixed32(2)),
        ];
        assert_eq!(fields(&bytes), Ok(want));
    }

    #[test]
    fn groups_are_skipped() {
        assert_eq!(
            fields(&[0x0b, 0x10, 1, 0x13, 0x14, 0x0c, 0x18, 5]),
            Ok(vec![(3, Payload::Varint(5))])
        );
    }

    #[test]
    fn broken_encodings_are_refused() {
        let cases: [(&[u8], Problem); 7] = [
            (&[0x08], Problem::Truncated),
            (&[0x0a, 5, b'x'], Problem::Truncated),
            (&[0x09, 1, 2], Problem::Truncated),
            (&[0x00], Problem::Broken),
            (&[0x0e], Problem::Broken),
            (&[0x0c], Problem::Broken),
            (&[0xff; 11], Problem::Broken),
        ];
        for (bytes, problem) in cases {
            assert_eq!(fields(bytes), Err(problem), "{bytes:?}");
        }
        assert_eq!(fields(&[0x0b; 40]), Err(Problem::TooDeep));
    }
}
