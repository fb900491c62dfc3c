//! Frames of a journal segment: `[length u32 LE][CRC-32C u32 LE][payload]`, the CRC over length and payload. The
//! length's highest bit is set in the first frame of each batch.
//!
//! This file knows bytes only, no files; what a bad frame means is the journal's to say.

use super::record::MAX_RECORD_BYTES;

/// Bytes before a payload.
pub(super) const OVERHEAD: usize = 8;

/// In a length: a batch begins here, so every frame before it was durable when it was written.
const BEGINS: u32 = 1 << 31;

/// Appends `payload` as a frame to `buffer`.
pub(super) fn push(buffer: &mut Vec<u8>, payload: &[u8], begins: bool) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let length = (length | if begins { BEGINS } else { 0 }).to_le_bytes();
    buffer.extend(length);
    buffer.extend(checksum(length, payload).to_le_bytes());
    buffer.extend(payload);
}

/// What stands at an offset.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// A whole frame; the next one starts at `next`.
    Frame {
        payload: &'a [u8],
        next: usize,
        begins: bool,
    },
    /// Nothing more.
    End,
    /// Bytes that are no frame, and why.
    Broken(&'static str),
}

/// How long a payload is, by the bytes before it; `None` if they are cut short or it is longer than any record.
pub(super) fn payload_length(head: &[u8]) -> Option<usize> {
    let (length, _) = head.split_first_chunk::<4>()?;
    usize::try_from(u32::from_le_bytes(*length) & !BEGINS)
        .ok()
        .filter(|length| *length <= MAX_RECORD_BYTES)
}

/// Reads the frame at `offset`.
pub(super) fn at(bytes: &[u8], offset: usize) -> Step<'_> {
    let head = match bytes.get(offset..) {
        None | Some([]) => return Step::End,
        Some(head) => head,
    };
    let Some((length, rest)) = head.split_first_chunk::<4>() else {
        return Step::Broken("cut short within a frame's length");
    };
    let Some((sum, rest)) = rest.split_first_chunk::<4>() else {
        return Step::Broken("cut short within a frame's checksum");
    };
    let Some(size) = payload_length(head) else {
        return Step::Broken("a frame longer than any record");
    };
    let Some(payload) = rest.get(..size) else {
        return Step::Broken("cut short within a record");
    };
    if checksum(*length, payload) != u32::from_le_bytes(*sum) {
        return Step::Broken("checksum does not match");
    }
    Step::Frame {
        payload,
        next: offset + OVERHEAD + size,
        begins: u32::from_le_bytes(*length) & BEGINS != 0,
    }
}

/// Whether a batch begins anywhere behind `offset`: then what is broken at `offset` was durable, and is no torn end. A
/// disk may keep the later part of a torn batch without its beginning, so other frames say nothing, unless batches are
/// not `marked`.
pub(super) fn batch_after(bytes: &[u8], offset: usize, marked: bool) -> bool {
    (offset + 1..bytes.len()).any(|offset| match at(bytes, offset) {
        Step::Frame { begins, .. } => begins || !marked,
        Step::End | Step::Broken(_) => false,
    })
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
        push(&mut whole, b"record", true);
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(at(&bytes, 0), Step::Broken(_)), "bit {bit}");
        }
    }

    #[test]
    fn a_batch_behind_damage_is_found() {
        let mut bytes = b"damage".to_vec();
        push(&mut bytes, b"record", true);
        assert!(batch_after(&bytes, 0, true));
        bytes.pop();
        assert!(!batch_after(&bytes, 0, true));
        bytes.truncate(6);
        push(&mut bytes, b"record", false);
        assert!(!batch_after(&bytes, 0, true), "of the same batch");
        assert!(batch_after(&bytes, 0, false));
    }
}
