//! Which nonces of this process's own making were used: a bit for each.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::clock::Timestamp;

/// The nonces that this process made, numbered from 0.
pub(super) struct Own {
    process: [u8; 8],
    next: AtomicU64,
    used: Mutex<Used>,
}

#[derive(Default)]
struct Used {
    /// The number of the first bit, in words of 64.
    first: u64,
    bits: VecDeque<u64>,
    /// How many had been made by when, oldest first.
    made: VecDeque<(Timestamp, u64)>,
}

impl Own {
    /// `process` is random: no other process has it.
    pub(super) fn new(process: [u8; 8]) -> Self {
        Self {
            process,
            next: AtomicU64::new(0),
            used: Mutex::default(),
        }
    }

    /// The id of the next nonce, unique for ever.
    pub(super) fn next(&self) -> [u8; 16] {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut id = [0; 16];
        id.iter_mut()
            .zip(self.process.into_iter().chain(number.to_be_bytes()))
            .for_each(|(to, from)| *to = from);
        id
    }

    /// Uses a nonce, and says whether this was the first time; `None` if another process made it.
    pub(super) fn take(&self, id: [u8; 16]) -> Option<bool> {
        let number = u64::from_be_bytes(id.strip_prefix(&self.process)?.try_into().ok()?);
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        Some(used.take(number))
    }

    /// Forgets what was made before `before`, as far as that is known from earlier calls, which are at `now`.
    pub(super) fn forget(&self, now: Timestamp, before: Timestamp) {
        let made = self.next.load(Ordering::Relaxed);
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.made.push_back((now, made));
        while let Some((_, made)) = used.made.pop_front_if(|(at, _)| *at < before) {
            used.forget_up_to(made);
        }
    }
}

impl Used {
    fn take(&mut self, number: u64) -> bool {
        let place = (number / 64).checked_sub(self.first);
        // What was forgotten counts as used.
        let Some(place) = place.and_then(|place| usize::try_from(place).ok()) else {
            return false;
        };
        if self.bits.len() <= place {
            self.bits.resize(place.saturating_add(1), 0);
        }
        let bit = 1 << (number % 64);
        match self.bits.get_mut(place) {
            Some(word) if *word & bit == 0 => {
                *word |= bit;
                true
            }
            _ => false,
        }
    }

    fn forget_up_to(&mut self, made: u64) {
        let words = (made / 64).saturating_sub(self.first);
        let there = usize::try_from(words).unwrap_or(usize::MAX).min(self.bits.len());
        self.bits.drain(..there);
        self.first = self.first.saturating_add(words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_used_once_and_what_is_forgotten_never_again() {
        let own = Own::new([7; 8]);
        let ids: Vec<_> = (0..200).map(|_| own.next()).collect();
        assert_eq!(own.take(ids[150]), Some(true));
        assert_eq!(own.take(ids[150]), Some(false));
        assert_eq!(own.take(ids[3]), Some(true));
        assert_eq!(own.take(Own::new([8; 8]).next()), None);

        let at = Timestamp::from_unix;
        own.forget(at(100), at(50));
        let young = own.next();
        assert_eq!(own.take(ids[4]), Some(true), "100 is not before 50");
        own.forget(at(200), at(101));
        assert_eq!(own.take(ids[5]), Some(false), "forgotten");
        assert_eq!(own.take(ids[191]), Some(false), "forgotten");
        assert_eq!(own.take(young), Some(true));
        assert_eq!(own.take(young), Some(false));
        assert!(own.used.lock().unwrap().bits.len() <= 2);

        // Nobody asked for any since.
        own.forget(at(300), at(201));
        own.forget(at(400), at(301));
        let last = own.next();
        assert_eq!((own.take(last), own.take(last)), (Some(true), Some(false)));
    }
}
