//! Medians and spreads of a few samples.

/// What a handful of samples says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Spread {
    /// Of no values there is none. An even number of them has the mean of the two in the middle as its median.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        let upper = values.len() / 2;
        let lower = (values.len() - 1) / 2;
        let median = f64::midpoint(values[lower], values[upper]);
        Some(Spread { median, min, max })
    }
}

/// Each value over the measure of the same round. Rounds that one of them does not have are left out.
pub(super) fn ratios(values: &[f64], measures: &[f64]) -> Vec<f64> {
    values
        .iter()
        .zip(measures)
        .map(|(value, measure)| value / measure)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_odd_number_is_the_middle_one() {
        let spread = Spread::of([9.0, 1.0, 5.0]).unwrap();
        assert_eq!(
            spread,
            Spread {
                median: 5.0,
                min: 1.0,
                max: 9.0
            }
        );
    }

    #[test]
    fn the_median_of_an_even_number_is_between_the_middle_two() {
        let spread = Spread::of([4.0, 1.0, 100.0, 2.0]).unwrap();
        assert_eq!(
            spread,
            Spread {
                median: 3.0,
                min: 1.0,
                max: 100.0
            }
        );
    }

    #[test]
    fn one_value_is_its_own_spread() {
        let spread = Spread::of([7.5]).unwrap();
        assert_eq!(
            spread,
            Spread {
                median: 7.5,
                min: 7.5,
                max: 7.5
            }
        );
    }

    #[test]
    fn no_values_have_no_spread() {
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn an_outlier_does_not_move_the_median() {
        let calm = Spread::of([10.0, 11.0, 12.0, 13.0, 14.0]).unwrap();
        let wild = Spread::of([10.0, 11.0, 12.0, 13.0, 9000.0]).unwrap();
        assert_eq!(calm.median, wild.median);
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        // The machine was twice as fast in the second round; the ratio was the same.
        assert_eq!(ratios(&[20.0, 40.0], &[10.0, 20.0]), [2.0, 2.0]);
        assert_eq!(ratios(&[20.0, 40.0], &[10.0]), [2.0]);
        assert!(ratios(&[20.0], &[]).is_empty());
    }
}
