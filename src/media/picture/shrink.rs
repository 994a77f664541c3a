//! Making a picture small while its rows go by: each small pixel is the mean of those it covers. Pure.

/// A small picture in the making.
pub(super) struct Shrink {
    size: (u32, u32),
    small: (u32, u32),
    /// Which column of the small picture each column falls into.
    columns: Vec<u32>,
    /// Sums of red, green and blue, and of pixels.
    sums: Vec<[u32; 4]>,
}

/// Rows of 8-bit RGB.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Small {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) rgb: Vec<u8>,
}

/// Pixels of one small pixel that are summed at most: 2^24 of 255 fit in 32 bits.
const MOST: u32 = 1 << 24;

impl Shrink {
    /// For a picture of this size; its longer side becomes `longest`, unless it is shorter already.
    pub(super) fn new(size: (u32, u32), longest: u32) -> Shrink {
        let (width, height) = (size.0.max(1), size.1.max(1));
        let side = width.max(height);
        let scaled = |length: u32| {
            if side <= longest {
                length
            } else {
                let scaled = u64::from(length) * u64::from(longest) / u64::from(side);
                u32::try_from(scaled).unwrap_or(longest).max(1)
            }
        };
        let small = (scaled(width), scaled(height));
        let column = |x: u32| (u64::from(x) * u64::from(small.0) / u64::from(width)) as u32;
        Shrink {
            size: (width, height),
            small,
            columns: (0..width).map(column).collect(),
            sums: vec![[0; 4]; small.0 as usize * small.1 as usize],
        }
    }

    /// Takes row `y`. Rows may be left out, pixels at a row's end too.
    pub(super) fn row(&mut self, y: u32, pixels: impl Iterator<Item = [u8; 3]>) {
        if y >= self.size.1 {
            return;
        }
        let row = (u64::from(y) * u64::from(self.small.1) / u64::from(self.size.1)) as usize;
        let row = &mut self.sums[row * self.small.0 as usize..][..self.small.0 as usize];
        for (column, pixel) in self.columns.iter().zip(pixels) {
            let sum = &mut row[*column as usize];
            if sum[3] < MOST {
                sum[0] += u32::from(pixel[0]);
                sum[1] += u32::from(pixel[1]);
                sum[2] += u32::from(pixel[2]);
                sum[3] += 1;
            }
        }
    }

    pub(super) fn finish(self) -> Small {
        let mean = |sum: &[u32; 4]| [0, 1, 2].map(|c| (sum[c] / sum[3].max(1)) as u8);
        let rgb = self.sums.iter().flat_map(mean).collect();
        Small { width: self.small.0, height: self.small.1, rgb }
    }
}

impl Small {
    /// Turned and mirrored so that what a camera took with this Exif orientation stands upright.
    pub(super) fn upright(self, orientation: u8) -> Small {
        let (w, h) = (self.width as usize, self.height as usize);
        let from = |x: usize, y: usize| match orientation {
            2 => (w - 1 - x, y),
            3 => (w - 1 - x, h - 1 - y),
            4 => (x, h - 1 - y),
            5 => (y, x),
            6 => (y, h - 1 - x),
            7 => (w - 1 - y, h - 1 - x),
            8 => (w - 1 - y, x),
            _ => (x, y),
        };
        let turned = (5..=8).contains(&orientation);
        let (width, height) = if turned { (self.height, self.width) } else { (self.width, self.height) };
        let mut rgb = Vec::with_capacity(self.rgb.len());
        for y in 0..height as usize {
            for x in 0..width as usize {
                let (x, y) = from(x, y);
                rgb.extend_from_slice(&self.rgb[(y * w + x) * 3..][..3]);
            }
        }
        Small { width, height, rgb }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_pixel_is_the_mean_of_what_it_covers() {
        let mut shrink = Shrink::new((400, 200), 2);
        for y in 0..200 {
            shrink
                .row(y, (0..400).map(|x| if x < 200 { [100, 0, 0] } else { [(y % 2) as u8 * 200, 10, 20] }));
        }
        assert_eq!(shrink.finish(), Small { width: 2, height: 1, rgb: vec![100, 0, 0, 100, 10, 20] });
    }

    #[test]
    fn orientations_stand_upright() {
        // 0 1
        // 2 3
        // 4 5
        let small = || Small { width: 2, height: 3, rgb: (0..6).flat_map(|n| [n; 3]).collect() };
        let seen = |orientation| {
            let upright = small().upright(orientation);
            (upright.width, upright.rgb.chunks(3).map(|p| p[0]).collect::<Vec<_>>())
        };
        assert_eq!(seen(1), (2, vec![0, 1, 2, 3, 4, 5]));
        assert_eq!(seen(2), (2, vec![1, 0, 3, 2, 5, 4]));
        assert_eq!(seen(3), (2, vec![5, 4, 3, 2, 1, 0]));
        assert_eq!(seen(4), (2, vec![4, 5, 2, 3, 0, 1]));
        assert_eq!(seen(5), (3, vec![0, 2, 4, 1, 3, 5]));
        assert_eq!(seen(6), (3, vec![4, 2, 0, 5, 3, 1]));
        assert_eq!(seen(7), (3, vec![5, 3, 1, 4, 2, 0]));
        assert_eq!(seen(8), (3, vec![1, 3, 5, 0, 2, 4]));
    }

    proptest! {
        #[test]
        fn any_size_and_any_rows(width in 0_u32..300, height in 0_u32..300, longest in 1_u32..120, orientation in 0_u8..10, rows in 0_u32..400) {
            let mut shrink = Shrink::new((width, height), longest);
            for y in 0..rows {
                shrink.row(y, (0..width + 3).map(|_| [9, 8, 7]));
            }
            let small = shrink.finish().upright(orientation);
            prop_assert!(small.width <= longest.max(width.min(longest)) && small.height <= longest);
            prop_assert_eq!(small.rgb.len(), (small.width * small.height * 3) as usize);
        }
    }
}
