//! To 48 kHz, the one rate at which Opus speaks of time, block by block. Pure.
//!
//! A windowed sinc (Kaiser, β = 9: the stop band lies 90 dB down) in a table of 256 phases, with straight lines between
//! neighbouring phases. The position in the input is kept as a whole number of 1/48,000 samples, so nothing drifts
//! however long the sound is.

use std::f64::consts::PI;

/// The output's rate in Hz.
pub(super) const RATE: u32 = 48_000;
/// Phases between two input samples.
const PHASES: usize = 256;
/// Zero crossings of the sinc on each side: what separates the pass band from the stop band.
const CROSSINGS: usize = 16;
/// How much of the narrower band is kept; the filter's slope needs the rest.
const PASS: f64 = 0.93;
const BETA: f64 = 9.0;

/// Lowest and highest rate that is taken, in Hz: telephone recordings have 8,000, studios at most 192,000. The limit
/// bounds the filter's length, which grows with the rate.
pub(super) const RATES: std::ops::RangeInclusive<u32> = 1_000..=384_000;

/// Turns sound of one rate into sound of 48 kHz.
pub(super) struct Resampler {
    rate: u32,
    /// `PHASES + 1` rows of `taps` coefficients; the last row is the first, one sample on.
    table: Vec<f32>,
    taps: usize,
    /// Input not needed any more is removed; begins with silence, so that the first output is the first input.
    input: Vec<f32>,
    /// Where the next output lies behind `input[0]`, in 1/48,000 input samples.
    at: u64,
}

impl Resampler {
    /// For sound of `rate` Hz, which must be in [`RATES`].
    pub(super) fn new(rate: u32) -> Resampler {
        let band = (f64::from(RATE) / f64::from(rate)).min(1.0);
        let half = (CROSSINGS as f64 / band).ceil() as usize;
        let taps = 2 * half;
        let cutoff = band * PASS;
        let mut table = Vec::with_capacity((PHASES + 1) * taps);
        for phase in 0..=PHASES {
            let offset = phase as f64 / PHASES as f64;
            let row = table.len();
            for tap in 0..taps {
                let x = tap as f64 - (half as f64 - 1.0) - offset;
                table.push((sinc(x * cutoff) * cutoff * kaiser(x / half as f64)) as f32);
            }
            // Every phase passes silence and steady levels alike; without this the level would ripple.
            let sum: f32 = table[row..].iter().sum();
            table[row..].iter_mut().for_each(|c| *c /= sum);
        }
        Resampler { rate, table, taps, input: vec![0.0; half - 1], at: 0 }
    }

    pub(super) fn rate(&self) -> u32 {
        self.rate
    }

    /// Takes `block` and appends what can be told by now to `out`.
    pub(super) fn push(&mut self, block: &[f32], out: &mut Vec<f32>) {
        if self.rate == RATE {
            out.extend_from_slice(block);
            return;
        }
        self.input.extend_from_slice(block);
        let one = u64::from(RATE);
        loop {
            let first = (self.at / one) as usize;
            let Some(window) = self.input.get(first..first + self.taps) else { break };
            let phase = (self.at % one) as f64 / one as f64 * PHASES as f64;
            let row = (phase as usize).min(PHASES - 1);
            let share = (phase - row as f64) as f32;
            let (low, high) = self.table[row * self.taps..][..2 * self.taps].split_at(self.taps);
            let (mut a, mut b) = (0.0, 0.0);
            for ((sample, low), high) in window.iter().zip(low).zip(high) {
                a += sample * low;
                b += sample * high;
            }
            out.push(a + (b - a) * share);
            self.at += u64::from(self.rate);
        }
        let done = ((self.at / one) as usize).min(self.input.len());
        self.input.drain(..done);
        self.at -= done as u64 * one;
    }

    /// Appends what the filter still holds back; the sound is over.
    pub(super) fn finish(&mut self, out: &mut Vec<f32>) {
        if self.rate != RATE {
            self.push(&vec![0.0; self.taps / 2], out);
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) }
}

/// Kaiser's window at `x` of -1..=1.
fn kaiser(x: f64) -> f64 {
    if x.abs() >= 1.0 { 0.0 } else { bessel(BETA * (1.0 - x * x).sqrt()) / bessel(BETA) }
}

/// The modified Bessel function of the first kind and order 0, by its series.
fn bessel(x: f64) -> f64 {
    let (mut sum, mut term, mut n) = (1.0, 1.0, 1.0);
    while term > sum * 1e-12 {
        term *= (x / (2.0 * n)).powi(2);
        sum += term;
        n += 1.0;
    }
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sine(rate: u32, hz: f64, seconds: f64) -> Vec<f32> {
        let count = (f64::from(rate) * seconds) as usize;
        (0..count).map(|n| (n as f64 * hz * 2.0 * PI / f64::from(rate)).sin() as f32 * 0.5).collect()
    }

    fn resample(rate: u32, sound: &[f32], block: usize) -> Vec<f32> {
        let (mut resampler, mut out) = (Resampler::new(rate), Vec::new());
        for block in sound.chunks(block) {
            resampler.push(block, &mut out);
        }
        resampler.finish(&mut out);
        out
    }

    /// How far the output is from the same sine made at 48 kHz, in dB below it, without the first and last 10 ms.
    fn error_db(rate: u32, hz: f64) -> f64 {
        let (out, ideal) = (resample(rate, &sine(rate, hz, 0.5), 1000), sine(RATE, hz, 0.5));
        let inner = 480..ideal.len() - 480;
        let power = |x: f64| x * x;
        let noise: f64 = inner.clone().map(|n| power(f64::from(out[n]) - f64::from(ideal[n]))).sum();
        let signal: f64 = inner.map(|n| power(f64::from(ideal[n]))).sum();
        10.0 * (noise / signal).log10()
    }

    #[test]
    fn a_sine_stays_the_same_sine() {
        for rate in [8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 96_000, 192_000] {
            for hz in [100.0, 440.0, 1000.0, 3000.0] {
                assert!(error_db(rate, hz) < -70.0, "{hz} Hz at {rate}: {}", error_db(rate, hz));
            }
        }
    }

    #[test]
    fn what_48_khz_cannot_hold_is_taken_away_and_not_folded_back() {
        let out = resample(96_000, &sine(96_000, 30_000.0, 0.2), 777);
        let loudest = out[480..out.len() - 480].iter().fold(0.0_f32, |loudest, x| loudest.max(x.abs()));
        assert!(loudest < 0.0005, "{loudest}");
    }

    #[test]
    fn the_length_is_kept() {
        for rate in [8_000, 44_100, 48_000, 96_000] {
            let out = resample(rate, &vec![0.1; rate as usize], 4096);
            assert!(out.len().abs_diff(48_000) <= 1, "{rate}: {}", out.len());
        }
    }

    proptest! {
        #[test]
        fn blocks_of_any_size_give_the_same_sound(rate in RATES, block in 1_usize..3000) {
            let sound = sine(rate, 200.0, 0.02);
            prop_assert_eq!(resample(rate, &sound, block), resample(rate, &sound, usize::MAX));
        }
    }
}
