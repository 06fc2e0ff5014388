//! How many virtual bytes wait at which fee rate.

use std::collections::BTreeMap;

use bitcoin::Amount;

/// Size of the first bin of the histogram, in virtual bytes.
const FIRST_BIN_BYTES: u64 = 100_000;

/// Virtual bytes by fee rate, in tenths of a satoshi per virtual byte, rounded down.
#[derive(Clone, Default)]
pub(super) struct FeeRates(BTreeMap<u32, u64>);

impl FeeRates {
    pub(super) fn add(&mut self, fee: Amount, bytes: u64) {
        let sum = self.0.entry(tenths(fee, bytes)).or_default();
        *sum = sum.saturating_add(bytes);
    }

    pub(super) fn subtract(&mut self, fee: Amount, bytes: u64) {
        let rate = tenths(fee, bytes);
        if let Some(sum) = self.0.get_mut(&rate) {
            *sum = sum.saturating_sub(bytes);
            if *sum == 0 {
                self.0.remove(&rate);
            }
        }
    }

    /// `[fee rate in sat/vB, virtual bytes]`, strictly decreasing: the bytes of a bin pay at least its rate and less
    /// than the one before. Each bin is a tenth larger than the last, so that the list stays short.
    pub(super) fn histogram(&self) -> Vec<(f64, u64)> {
        let mut bins = Vec::new();
        let mut bin_bytes = FIRST_BIN_BYTES;
        let mut open: Option<(u32, u64)> = None;
        for (&rate, &bytes) in self.0.iter().rev() {
            // What alone overfills a bin must not lower the rate of what came before it.
            if let Some(full) = open.take_if(|_| bytes > bin_bytes.saturating_mul(2)) {
                bins.push(full);
                bin_bytes = grown(bin_bytes);
            }
            let before = open.map_or(0, |(_rate, bytes)| bytes);
            open = Some((rate, before.saturating_add(bytes)));
            if let Some(full) = open.take_if(|(_rate, bytes)| *bytes > bin_bytes) {
                bins.push(full);
                bin_bytes = grown(bin_bytes);
            }
        }
        bins.extend(open);
        bins.into_iter()
            .map(|(rate, bytes)| (f64::from(rate) / 10.0, bytes))
            .collect()
    }
}

fn grown(bytes: u64) -> u64 {
    bytes.saturating_add(bytes / 10)
}

fn tenths(fee: Amount, bytes: u64) -> u32 {
    let rate = fee.to_sat().saturating_mul(10).checked_div(bytes);
    u32::try_from(rate.unwrap_or_default()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(of: &[(u64, u64)]) -> FeeRates {
        let mut rates = FeeRates::default();
        for (fee, bytes) in of {
            rates.add(Amount::from_sat(*fee), *bytes);
        }
        rates
    }

    #[test]
    fn small_mempools_are_one_bin_at_their_lowest_rate() {
        assert_eq!(rates(&[]).histogram(), []);
        let few = rates(&[(1000, 100), (255, 100), (300, 200)]);
        assert_eq!(few.histogram(), [(1.5, 400)]);
    }

    #[test]
    fn bins_grow_by_a_tenth_and_strictly_decrease_in_rate() {
        let many: Vec<_> = (1..=2000).map(|n| (n * 100, 1000)).collect();
        let histogram = rates(&many).histogram();
        assert_eq!(histogram[0], (190.0, 101_000));
        assert_eq!(histogram[1], (178.9, 111_000));
        assert!(histogram.windows(2).all(|two| two[0].0 > two[1].0));
        let sum: u64 = histogram.iter().map(|(_rate, bytes)| bytes).sum();
        assert_eq!(sum, 2_000_000);
    }

    #[test]
    fn what_overfills_a_bin_alone_starts_a_new_one() {
        let crowd = rates(&[(500_000, 1000), (1_000_000, 1_000_000)]);
        assert_eq!(crowd.histogram(), [(500.0, 1000), (1.0, 1_000_000)]);
    }

    #[test]
    fn what_leaves_is_taken_out() {
        let mut some = rates(&[(1000, 100), (255, 100)]);
        some.subtract(Amount::from_sat(1000), 100);
        assert_eq!(some.histogram(), [(2.5, 100)]);
        some.subtract(Amount::from_sat(255), 100);
        assert_eq!(some.histogram(), []);
    }
}
