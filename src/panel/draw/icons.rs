//! The icons: 11 by 11 pixels, drawn at whole multiples.

use embedded_graphics::{
    pixelcolor::Rgb565,
    prelude::*,
    primitives::{PrimitiveStyle, Rectangle},
};
use kurir_board::Frame;

/// Width and height of every icon.
pub(super) const SIDE: u32 = 11;

/// One icon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Icon(&'static [&'static str; SIDE as usize]);

impl Icon {
    /// Draws it with its top left corner at `at`, each pixel `scale` by `scale`.
    pub(super) fn draw(self, frame: &mut Frame, at: Point, scale: u32, color: Rgb565) {
        for (y, row) in self.0.iter().enumerate() {
            for (x, _) in row.bytes().enumerate().filter(|(_, b)| *b == b'#') {
                let corner = at + Point::new((x as u32 * scale) as i32, (y as u32 * scale) as i32);
                let Ok(()) = Rectangle::new(corner, Size::new(scale, scale))
                    .into_styled(PrimitiveStyle::with_fill(color))
                    .draw(frame);
            }
        }
    }
}

pub(super) const CHECK: Icon = Icon(&[
    "   #####   ",
    " ######### ",
    " #######  #",
    "#######  ##",
    "######  ###",
    "#  ##  ####",
    "##    #####",
    "###  ######",
    " ######### ",
    " ######### ",
    "   #####   ",
]);
pub(super) const DOTS: Icon = Icon(&[
    "   #####   ",
    "  #     #  ",
    " #       # ",
    "#         #",
    "#         #",
    "# ## # ## #",
    "#         #",
    "#         #",
    " #       # ",
    "  #     #  ",
    "   #####   ",
]);
pub(super) const WARNING: Icon = Icon(&[
    "     #     ",
    "    ###    ",
    "    ###    ",
    "   ## ##   ",
    "   ## ##   ",
    "  ### ###  ",
    "  ### ###  ",
    " #### #### ",
    " ######### ",
    "##### #####",
    "###########",
]);
pub(super) const UNPLUGGED: Icon = Icon(&[
    "  #######  ",
    " #       # ",
    "#  #####  #",
    "  #     #  ",
    "    ##     ",
    "   #  #   #",
    "       # # ",
    "    #   #  ",
    "   ### # # ",
    "    # #   #",
    "           ",
]);
pub(super) const PHONE: Icon = Icon(&[
    "  #######  ",
    "  #     #  ",
    "  #     #  ",
    "  # # # #  ",
    "  #  #  #  ",
    "  # # # #  ",
    "  #     #  ",
    "  #     #  ",
    "  #######  ",
    "  ### ###  ",
    "  #######  ",
]);
pub(super) const KEY: Icon = Icon(&[
    "           ",
    "  ###      ",
    " #####     ",
    "##   ##    ",
    "##   ######",
    "##   ######",
    "##   ## # #",
    " #####  # #",
    "  ###      ",
    "           ",
    "           ",
]);
pub(super) const DISK: Icon = Icon(&[
    "  ######## ",
    " ######### ",
    "## # # # # ",
    "## # # # # ",
    "########## ",
    "########## ",
    "##      ## ",
    "## #### ## ",
    "##      ## ",
    "########## ",
    "########## ",
]);
pub(super) const CLOCK: Icon = Icon(&[
    "   #####   ",
    "  #     #  ",
    " #   #   # ",
    "#    #    #",
    "#    #    #",
    "#    ###  #",
    "#         #",
    "#         #",
    " #       # ",
    "  #     #  ",
    "   #####   ",
]);
pub(super) const BAN: Icon = Icon(&[
    "   #####   ",
    "  ##   ##  ",
    " ##     ## ",
    "##     ####",
    "#     ### #",
    "#    ###  #",
    "#   ###   #",
    "#####    ##",
    " ###    ## ",
    "  ##   ##  ",
    "   #####   ",
]);
pub(super) const UNLINKED: Icon = Icon(&[
    "      #### ",
    "     #    #",
    "#         #",
    " #    #   #",
    "     #   # ",
    "   #   ##  ",
    "  #   #    ",
    " #   #   # ",
    "#        ##",
    "#    #     ",
    " ####      ",
]);
pub(super) const TRASH: Icon = Icon(&[
    "    ###    ",
    " ######### ",
    "           ",
    " ######### ",
    " ## # # ## ",
    " ## # # ## ",
    " ## # # ## ",
    " ## # # ## ",
    " ## # # ## ",
    " ######### ",
    "  #######  ",
]);
pub(super) const UPDATE: Icon = Icon(&[
    "     #     ",
    "    ###    ",
    "   #####   ",
    "  #######  ",
    "    ###    ",
    "    ###    ",
    "    ###    ",
    "    ###    ",
    "#         #",
    "#         #",
    "###########",
]);
pub(super) const POWER: Icon = Icon(&[
    "     #     ",
    "  #  #  #  ",
    " #   #   # ",
    "#    #    #",
    "#    #    #",
    "#    #    #",
    "#         #",
    "#         #",
    " #       # ",
    "  ##   ##  ",
    "    ###    ",
]);
pub(super) const GLOBE: Icon = Icon(&[
    "   #####   ",
    "  # # # #  ",
    " #  # #  # ",
    "###########",
    "#  #   #  #",
    "#  #   #  #",
    "#  #   #  #",
    "###########",
    " #  # #  # ",
    "  # # # #  ",
    "   #####   ",
]);
pub(super) const PRESS: Icon = Icon(&[
    "    ###    ",
    "    # #    ",
    "    # #    ",
    "    # ###  ",
    " ## # # ###",
    " # ## # # #",
    "  ##      #",
    "   #      #",
    "    #    # ",
    "    #    # ",
    "    ###### ",
]);
