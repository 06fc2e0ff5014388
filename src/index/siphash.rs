//! SipHash-2-4 of hashes, several side by side: a processor gets ahead with one while the rounds of another wait for
//! each other, so that two take little longer than one.

/// A hash, and a number of so many bytes behind it.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    hash: &'a [u8; 32],
    /// The last word: the length in the first byte, and what does not fill a word.
    tail: u64,
}

impl<'a> Message<'a> {
    /// The hash alone.
    pub(super) fn of_hash(hash: &'a [u8; 32]) -> Self {
        Self {
            hash,
            tail: 32 << 56,
        }
    }

    /// The hash and the four bytes of a number, the lowest first.
    pub(super) fn of_hash_and_number(hash: &'a [u8; 32], number: u32) -> Self {
        Self {
            hash,
            tail: 36 << 56 | u64::from(number),
        }
    }
}

/// The SipHash of each message under the key at its place.
pub(super) fn siphash<const N: usize>(
    keys: [&[u8; 16]; N],
    messages: [Message<'_>; N],
) -> [u64; N] {
    let mut lanes = Lanes(keys.map(start));
    let hashes = messages.map(|message| words(message.hash));
    lanes.absorb(hashes.map(|[word, _, _, _]| word));
    lanes.absorb(hashes.map(|[_, word, _, _]| word));
    lanes.absorb(hashes.map(|[_, _, word, _]| word));
    lanes.absorb(hashes.map(|[_, _, _, word]| word));
    lanes.absorb(messages.map(|message| message.tail));
    for [_, _, v2, _] in &mut lanes.0 {
        *v2 ^= 0xff;
    }
    for _ in 0..4 {
        lanes.round();
    }
    lanes.0.map(|[v0, v1, v2, v3]| v0 ^ v1 ^ v2 ^ v3)
}

/// The states.
struct Lanes<const N: usize>([[u64; 4]; N]);

impl<const N: usize> Lanes<N> {
    #[inline]
    fn absorb(&mut self, words: [u64; N]) {
        for ([_, _, _, v3], word) in self.0.iter_mut().zip(words) {
            *v3 ^= word;
        }
        self.round();
        self.round();
        for ([v0, ..], word) in self.0.iter_mut().zip(words) {
            *v0 ^= word;
        }
    }

    #[inline]
    fn round(&mut self) {
        for [v0, v1, v2, v3] in &mut self.0 {
            *v0 = v0.wrapping_add(*v1);
            *v2 = v2.wrapping_add(*v3);
            *v1 = v1.rotate_left(13) ^ *v0;
            *v3 = v3.rotate_left(16) ^ *v2;
            *v0 = v0.rotate_left(32);
            *v2 = v2.wrapping_add(*v1);
            *v0 = v0.wrapping_add(*v3);
            *v1 = v1.rotate_left(17) ^ *v2;
            *v3 = v3.rotate_left(21) ^ *v0;
            *v2 = v2.rotate_left(32);
        }
    }
}

fn start(key: &[u8; 16]) -> [u64; 4] {
    let [low, high] = words(key);
    [
        low ^ 0x736f_6d65_7073_6575,
        high ^ 0x646f_7261_6e64_6f6d,
        low ^ 0x6c79_6765_6e65_7261,
        high ^ 0x7465_6462_7974_6573,
    ]
}

/// All words of some bytes, each with the lowest byte first.
fn words<const BYTES: usize, const WORDS: usize>(bytes: &[u8; BYTES]) -> [u64; WORDS] {
    const { assert!(BYTES == 8 * WORDS) };
    let mut words = [0; WORDS];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use siphasher::sip::SipHasher24;

    proptest! {
        #[test]
        fn hashes_are_those_of_another_implementation(
            keys: [[u8; 16]; 2],
            hashes: [[u8; 32]; 2],
            number: u32,
        ) {
            let [first, second] = &hashes;
            let messages = [Message::of_hash(first), Message::of_hash_and_number(second, number)];
            let numbered = [second.as_slice(), &number.to_le_bytes()].concat();
            let expected = [
                SipHasher24::new_with_key(&keys[0]).hash(first),
                SipHasher24::new_with_key(&keys[1]).hash(&numbered),
            ];
            prop_assert_eq!(siphash([&keys[0], &keys[1]], messages), expected);
            prop_assert_eq!(siphash([&keys[0]], [messages[0]]), [expected[0]]);
        }
    }
}
