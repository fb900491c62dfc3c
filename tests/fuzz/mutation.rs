//! Makes bad input from good: bytes changed, cut, doubled and nested, without knowing what they mean. Repeatable by its
//! seed.

/// Largest input made; more than the longest certificate request that is taken.
const LARGEST: usize = 72 * 1024;
/// Numbers at which lengths and signs turn over, and the tags of ASN.1 and JSON that open something.
const TELLING: &[u8] = &[
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x09, 0x0c, 0x13, 0x17, 0x18, 0x1f, 0x20, 0x22, 0x30, 0x31, 0x5b, 0x5d,
    0x7b, 0x7d, 0x7f, 0x80, 0x81, 0x82, 0x84, 0x88, 0xa0, 0xa3, 0xfe, 0xff,
];
const LENGTHS: &[&[u8]] = &[
    &[0x80],
    &[0x81, 0xff],
    &[0x82, 0xff, 0xff],
    &[0x84, 0x7f, 0xff, 0xff, 0xff],
    &[0x84, 0xff, 0xff, 0xff, 0xff],
    &[0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0x00],
];

/// xorshift64*.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// In `0..bound`; 0 if there is nothing to choose from.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        if bound == 0 {
            return 0;
        }
        usize::try_from(self.next() >> 33).unwrap() % bound
    }

    pub(crate) fn of<'a, T>(&mut self, choice: &'a [T]) -> &'a T {
        &choice[self.below(choice.len())]
    }

    /// A range within `0..len`, most often short.
    fn range(&mut self, len: usize) -> std::ops::Range<usize> {
        let start = self.below(len + 1);
        let most = if self.below(4) == 0 { len } else { 16 };
        start..(start + self.below(most + 1)).min(len)
    }
}

/// Something like one of `corpus`.
pub(crate) fn mutated(random: &mut Random, corpus: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
    let mut input = random.of(corpus).clone();
    for _ in 0..=random.below(5) {
        change(random, &mut input, corpus, words);
        input.truncate(LARGEST);
    }
    input
}

fn change(random: &mut Random, input: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&str]) {
    let len = input.len();
    let at = random.below(len + 1);
    match random.below(14) {
        0 | 1 if len > 0 => input[at.min(len - 1)] ^= 1 << random.below(8),
        2 | 3 if len > 0 => input[at.min(len - 1)] = *random.of(TELLING),
        4 => input.truncate(at),
        5 => drop(input.drain(random.range(len))),
        6 => {
            let some: Vec<u8> = (0..random.below(9)).map(|_| *random.of(TELLING)).collect();
            insert(input, at, &some);
        }
        7 => {
            let part = input[random.range(len)].to_vec();
            insert(input, at, &part);
        }
        8 => {
            let other = random.of(corpus);
            let part = other[random.range(other.len())].to_vec();
            insert(input, at, &part);
        }
        9 => {
            let other = random.of(corpus);
            input.truncate(at);
            input.extend_from_slice(&other[random.below(other.len() + 1)..]);
        }
        10 => {
            let part = input[random.range(len)].to_vec();
            let times = 1 << random.below(13);
            insert(input, at, &part.repeat(times)[..(part.len() * times).min(LARGEST)]);
        }
        11 => {
            let length = random.of(LENGTHS);
            let end = (at + length.len()).min(len);
            input.splice(at..end, length.iter().copied());
        }
        12 => nest(random, input),
        _ => insert(input, at, random.of(words).as_bytes()),
    }
}

fn insert(input: &mut Vec<u8>, at: usize, part: &[u8]) {
    input.splice(at..at, part.iter().copied());
}

/// Wraps a part many times: in ASN.1 SEQUENCEs with right lengths, or in what opens and closes in JSON and TOML.
fn nest(random: &mut Random, input: &mut Vec<u8>) {
    let range = random.range(input.len());
    let mut part = input[range.clone()].to_vec();
    let depth = 1 << random.below(11);
    match random.below(3) {
        0 => {
            let tag = *random.of(&[0x30, 0x31, 0xa0, 0xa3, 0x24]);
            // From the inside out; what is turned round is read from its end.
            part.reverse();
            for _ in 0..depth.min(1024) {
                let len = part.len();
                for shift in 0..3 {
                    part.push(u8::try_from((len >> (8 * shift)) & 0xff).unwrap());
                }
                part.extend_from_slice(&[0x83, tag]);
            }
            part.reverse();
        }
        1 => part = [b"[".repeat(depth), part, b"]".repeat(depth)].concat(),
        _ => part = [b"{\"a\":".repeat(depth), part, b"}".repeat(depth)].concat(),
    }
    input.splice(range, part);
}
