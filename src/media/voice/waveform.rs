//! The waveform that a chat draws for a voice note: 64 levels. Pure.

/// Points, as WhatsApp's own apps send.
pub(super) const POINTS: usize = 64;
/// Spans kept; a power of two times [`POINTS`], so that merging neighbours always works out.
const SPANS: usize = 16 * POINTS;

/// Gathers levels of a sound whose length is not known yet: when all spans are full, neighbours are merged and each
/// spans twice the time.
pub(super) struct Waveform {
    /// Sums of absolute samples.
    spans: Vec<f64>,
    /// Samples in each span.
    width: u64,
    /// Samples in the last one.
    filled: u64,
}

impl Waveform {
    pub(super) fn new() -> Waveform {
        Waveform { spans: Vec::with_capacity(SPANS), width: 16, filled: 16 }
    }

    pub(super) fn push(&mut self, samples: &[f32]) {
        for sample in samples {
            if self.filled == self.width {
                if self.spans.len() == SPANS {
                    self.spans = self.spans.chunks(2).map(|pair| pair.iter().sum()).collect();
                    self.width *= 2;
                }
                self.spans.push(0.0);
                self.filled = 0;
            }
            if let Some(last) = self.spans.last_mut() {
                *last += f64::from(sample.abs());
            }
            self.filled += 1;
        }
    }

    /// The levels, 0 to 100: the loudest point is 100, and silence is all 0.
    pub(super) fn points(mut self) -> [u8; POINTS] {
        // The last span is shorter, so its sum says less.
        if let Some(last) = self.spans.last_mut() {
            *last *= self.width as f64 / self.filled.max(1) as f64;
        }
        let count = self.spans.len();
        let mut levels = [0.0; POINTS];
        for (point, level) in levels.iter_mut().enumerate() {
            let from = point * count / POINTS;
            let to = ((point + 1) * count / POINTS).max(from + 1).min(count);
            if let Some(spans) = self.spans.get(from..to).filter(|spans| !spans.is_empty()) {
                *level = spans.iter().sum::<f64>() / spans.len() as f64;
            }
        }
        let loudest = levels.iter().copied().fold(0.0, f64::max);
        // A level of one in 10,000 is what rounding leaves of silence.
        let scale = if loudest > self.width as f64 * 1e-4 { 100.0 / loudest } else { 0.0 };
        levels.map(|level| (level * scale).round().clamp(0.0, 100.0) as u8)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn points(samples: &[f32]) -> [u8; POINTS] {
        let mut waveform = Waveform::new();
        for block in samples.chunks(960) {
            waveform.push(block);
        }
        waveform.points()
    }

    #[test]
    fn it_follows_the_loudness() {
        for length in [64 * 100, 64 * 1601, 48_000 * 90] {
            let ramp: Vec<f32> = (0..length).map(|n| n as f32 / length as f32).collect();
            let points = points(&ramp);
            assert_eq!(points[POINTS - 1], 100);
            assert!(points.windows(2).all(|pair| pair[0] <= pair[1]), "{points:?}");
            assert!(points[0] <= 1 && points[POINTS / 2].abs_diff(51) <= 1, "{points:?}");
        }
    }

    #[test]
    fn silence_is_flat_and_quiet_speech_is_not() {
        assert_eq!(points(&[0.0; 50_000]), [0; POINTS]);
        assert_eq!(points(&[]), [0; POINTS]);
        assert_eq!(points(&[0.01; 50_000]), [100; POINTS]);
    }

    proptest! {
        #[test]
        fn any_sound_has_points_up_to_100(samples in prop::collection::vec(-2.0_f32..2.0, 0..5000)) {
            prop_assert!(points(&samples).iter().all(|point| *point <= 100));
        }
    }
}
