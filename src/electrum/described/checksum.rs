//! The checksum of an output descriptor (BIP 380).

const INPUT: &[u8] =
    b"0123456789()[],'/*abcdefgh@:$%{}IJKLMNOPQRSTUVWXYZ&+-.;<=>?!^_|~ijklmnopqrstuvwxyzABCDEFGH`#\"\\ ";
const OUTPUT: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const GENERATOR: [u64; 5] = [
    0xf5_dee5_1989,
    0xa9_fdca_3312,
    0x1b_ab10_e32d,
    0x37_06b1_677a,
    0x64_4d62_6ffd,
];

/// The descriptor with its checksum behind; characters that no descriptor may have count as nothing.
pub(super) fn appended(descriptor: &str) -> String {
    let mut sum = 1;
    let mut group = 0;
    let mut in_group = 0;
    for byte in descriptor.bytes() {
        let Some(place) = INPUT.iter().position(|known| *known == byte) else {
            continue;
        };
        let place = u64::try_from(place).unwrap_or_default();
        sum = step(sum, place & 31);
        group = group * 3 + (place >> 5);
        in_group += 1;
        if in_group == 3 {
            sum = step(sum, group);
            group = 0;
            in_group = 0;
        }
    }
    if in_group > 0 {
        sum = step(sum, group);
    }
    for _ in 0..8 {
        sum = step(sum, 0);
    }
    sum ^= 1;
    let digits = (0..8).rev().filter_map(|digit| {
        let digit = usize::try_from(sum >> (5 * digit) & 31).ok()?;
        OUTPUT.get(digit).copied().map(char::from)
    });
    format!("{descriptor}#{}", digits.collect::<String>())
}

fn step(sum: u64, value: u64) -> u64 {
    let top = sum >> 35;
    let mut sum = (sum & 0x7_ffff_ffff) << 5 ^ value;
    for (bit, generator) in GENERATOR.iter().enumerate() {
        if top >> bit & 1 == 1 {
            sum ^= generator;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::appended;

    /// BIP 380, test vectors.
    #[test]
    fn the_checksum_is_that_of_bip_380() {
        assert_eq!(appended("raw(deadbeef)"), "raw(deadbeef)#89f8spxm");
    }
}
