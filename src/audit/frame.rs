//! Frames of a journal segment: `[length u32 LE][CRC-32C u32 LE][payload]`, the CRC over length and payload.
//!
//! This file knows bytes only, no files; what a bad frame means is the journal's to say.

use super::record::MAX_RECORD_BYTES;

/// Bytes before a payload.
pub(super) const OVERHEAD: usize = 8;

/// Appends `payload` as a frame to `buffer`.
pub(super) fn push(buffer: &mut Vec<u8>, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    buffer.extend(length);
    buffer.extend(checksum(length, payload).to_le_bytes());
    buffer.extend(payload);
}

/// What stands at an offset.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// A whole frame; the next one starts at `next`.
    Frame { payload: &'a [u8], next: usize },
    /// Nothing more.
    End,
    /// Bytes that are no frame, and why.
    Broken(&'static str),
}

/// Reads the frame at `offset`.
pub(super) fn at(bytes: &[u8], offset: usize) -> Step<'_> {
    let Some(rest) = bytes.get(offset..) else {
        return Step::End;
    };
    if rest.is_empty() {
        return Step::End;
    }
    let Some((length, rest)) = rest.split_first_chunk::<4>() else {
        return Step::Broken("cut short within a frame's length");
    };
    let Some((sum, rest)) = rest.split_first_chunk::<4>() else {
        return Step::Broken("cut short within a frame's checksum");
    };
    let size = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    if size > MAX_RECORD_BYTES {
        return Step::Broken("a frame longer than any record");
    }
    let Some(payload) = rest.get(..size) else {
        return Step::Broken("cut short within a record");
    };
    if checksum(*length, payload) != u32::from_le_bytes(*sum) {
        return Step::Broken("checksum does not match");
    }
    Step::Frame {
        payload,
        next: offset + OVERHEAD + size,
    }
}

/// Whether a whole frame starts anywhere behind `offset`: then what is broken at `offset` is not the torn end.
pub(super) fn any_after(bytes: &[u8], offset: usize) -> bool {
    (offset + 1..bytes.len()).any(|offset| matches!(at(bytes, offset), Step::Frame { .. }))
}

fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length), payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_no_frame() {
        assert_eq!(at(&[0; 64], 0), Step::Broken("checksum does not match"));
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let mut whole = Vec::new();
        push(&mut whole, b"record");
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(at(&bytes, 0), Step::Broken(_)), "bit {bit}");
        }
    }

    #[test]
    fn a_frame_behind_damage_is_found() {
        let mut bytes = b"damage".to_vec();
        push(&mut bytes, b"record");
        assert!(any_after(&bytes, 0));
        bytes.pop();
        assert!(!any_after(&bytes, 0));
    }
}
