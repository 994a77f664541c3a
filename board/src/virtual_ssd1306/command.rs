//! The command table of the SSD1306 data sheet (rev 1.1, section 9), as a decoder of whole commands.

use super::Violation;

/// Which way the RAM pointer moves (data sheet 10.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressing {
    /// Along the columns of the window, then to the next page.
    Horizontal,
    /// Along the pages of the window, then to the next column.
    Vertical,
    /// Along all columns of one page.
    Page,
}

/// A scroll that was set up with 26h, 27h, 29h or 2Ah (data sheet 10.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scroll {
    /// To the left (27h, 2Ah) and not to the right.
    pub left: bool,
    /// First page that scrolls, 0 to 7.
    pub first: u8,
    /// Last page that scrolls, 0 to 7.
    pub last: u8,
    /// Frames between two steps.
    pub frames: u16,
    /// Rows that a step moves up (29h, 2Ah), 0 to 63; 0 for a horizontal scroll.
    pub rows: u8,
}

/// One command with its arguments, checked against the data sheet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// 81h.
    Contrast(u8),
    /// A4h, A5h: every pixel lit, whatever the RAM says.
    EntireOn(bool),
    /// A6h, A7h.
    Inverse(bool),
    /// AEh, AFh.
    DisplayOn(bool),
    /// 26h, 27h, 29h, 2Ah.
    ScrollSetup(Scroll),
    /// 2Eh, 2Fh.
    ScrollActive(bool),
    /// A3h: rows above the area that scrolls, rows in it.
    ScrollArea(u8, u8),
    /// 00h to 0Fh: low four bits of the column, page addressing only.
    ColumnLow(u8),
    /// 10h to 1Fh: high four bits of the column, page addressing only.
    ColumnHigh(u8),
    /// 20h.
    Addressing(Addressing),
    /// 21h: first and last column, not in page addressing.
    Columns(u8, u8),
    /// 22h: first and last page, not in page addressing.
    Pages(u8, u8),
    /// B0h to B7h: the page, page addressing only.
    Page(u8),
    /// 40h to 7Fh.
    StartLine(u8),
    /// A0h, A1h: column 0 is SEG127.
    SegmentRemap(bool),
    /// A8h: rows that are scanned, 16 to 64.
    Multiplex(u8),
    /// C0h, C8h: COM\[N-1\] is scanned first.
    ComReversed(bool),
    /// D3h.
    Offset(u8),
    /// DAh: alternative COM pin configuration, left and right swapped.
    ComPins(bool, bool),
    /// D5h, D9h, DBh: timing and voltage, which no picture shows.
    Drive,
    /// 8Dh (application note at the end of the data sheet).
    ChargePump(bool),
    /// E3h.
    Nop,
}

/// How many argument bytes follow `opcode`, or `None` if the data sheet knows no such command.
pub(super) fn arguments(opcode: u8) -> Option<usize> {
    match opcode {
        0x00..=0x1F
        | 0x2E
        | 0x2F
        | 0x40..=0x7F
        | 0xA0
        | 0xA1
        | 0xA4..=0xA7
        | 0xAE..=0xB7
        | 0xC0
        | 0xC8
        | 0xE3 => Some(0),
        0x20 | 0x81 | 0x8D | 0xA8 | 0xD3 | 0xD5 | 0xD9 | 0xDA | 0xDB => Some(1),
        0x21 | 0x22 | 0xA3 => Some(2),
        0x29 | 0x2A => Some(5),
        0x26 | 0x27 => Some(6),
        _ => None,
    }
}

/// Decodes `opcode` with its `args`, of which there are as many as [`arguments`] says.
pub(super) fn decode(opcode: u8, args: &[u8]) -> Result<Command, Violation> {
    let range = |index: usize, allowed: std::ops::RangeInclusive<u8>| match args.get(index) {
        Some(value) if allowed.contains(value) => Ok(*value),
        value => Err(Violation::Argument { opcode, index, value: value.copied().unwrap_or(0) }),
    };
    let ordered = |first: u8, last: u8, index: usize| {
        if first <= last {
            Ok((first, last))
        } else {
            Err(Violation::Argument { opcode, index, value: last })
        }
    };
    Ok(match opcode {
        0x00..=0x0F => Command::ColumnLow(opcode),
        // Columns are 0 to 127, so the high part is 0 to 7.
        0x10..=0x17 => Command::ColumnHigh(opcode & 0x0F),
        0x20 => match range(0, 0..=2)? {
            0 => Command::Addressing(Addressing::Horizontal),
            1 => Command::Addressing(Addressing::Vertical),
            _ => Command::Addressing(Addressing::Page),
        },
        0x21 => {
            let (first, last) = ordered(range(0, 0..=127)?, range(1, 0..=127)?, 1)?;
            Command::Columns(first, last)
        }
        0x22 => {
            let (first, last) = ordered(range(0, 0..=7)?, range(1, 0..=7)?, 1)?;
            Command::Pages(first, last)
        }
        0x26 | 0x27 => {
            range(0, 0..=0)?;
            let (first, last) = ordered(range(1, 0..=7)?, range(3, 0..=7)?, 3)?;
            let frames = scroll_frames(range(2, 0..=7)?);
            range(4, 0..=0)?;
            range(5, 0xFF..=0xFF)?;
            Command::ScrollSetup(Scroll { left: opcode == 0x27, first, last, frames, rows: 0 })
        }
        0x29 | 0x2A => {
            range(0, 0..=0)?;
            let (first, last) = ordered(range(1, 0..=7)?, range(3, 0..=7)?, 3)?;
            let frames = scroll_frames(range(2, 0..=7)?);
            Command::ScrollSetup(Scroll {
                left: opcode == 0x2A,
                first,
                last,
                frames,
                rows: range(4, 1..=63)?,
            })
        }
        0x2E | 0x2F => Command::ScrollActive(opcode == 0x2F),
        0x40..=0x7F => Command::StartLine(opcode & 0x3F),
        0x81 => Command::Contrast(range(0, 0..=255)?),
        0x8D => match args {
            [0x10] => Command::ChargePump(false),
            [0x14] => Command::ChargePump(true),
            _ => {
                return Err(Violation::Argument {
                    opcode,
                    index: 0,
                    value: args.first().copied().unwrap_or(0),
                });
            }
        },
        0xA0 | 0xA1 => Command::SegmentRemap(opcode == 0xA1),
        0xA3 => Command::ScrollArea(range(0, 0..=63)?, range(1, 0..=64)?),
        0xA4 | 0xA5 => Command::EntireOn(opcode == 0xA5),
        0xA6 | 0xA7 => Command::Inverse(opcode == 0xA7),
        0xA8 => Command::Multiplex(range(0, 15..=63)? + 1),
        0xAE | 0xAF => Command::DisplayOn(opcode == 0xAF),
        0xB0..=0xB7 => Command::Page(opcode & 0x07),
        0xC0 | 0xC8 => Command::ComReversed(opcode == 0xC8),
        0xD3 => Command::Offset(range(0, 0..=63)?),
        0xD5 => Command::Drive,
        // Phase 1 and phase 2 are 1 to 15 clocks; 0 is an invalid entry.
        0xD9 if args.first().is_some_and(|a| a & 0x0F != 0 && a & 0xF0 != 0) => Command::Drive,
        0xDA => match args {
            [a] if a & !0x30 == 0x02 => Command::ComPins(a & 0x10 != 0, a & 0x20 != 0),
            _ => {
                return Err(Violation::Argument {
                    opcode,
                    index: 0,
                    value: args.first().copied().unwrap_or(0),
                });
            }
        },
        // Bits 6 to 4 are the level. The sheet names 0, 2 and 3 and does not forbid the others; 4 is widely used.
        0xDB if args.first().is_some_and(|a| a & !0x70 == 0) => Command::Drive,
        0xE3 => Command::Nop,
        0xD9 | 0xDB => {
            return Err(Violation::Argument { opcode, index: 0, value: args.first().copied().unwrap_or(0) });
        }
        _ => return Err(Violation::UnknownCommand { opcode }),
    })
}

/// Frames between two scroll steps, by the code in the set-up commands.
fn scroll_frames(code: u8) -> u16 {
    [5, 64, 128, 256, 3, 4, 25, 2][usize::from(code & 7)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_the_sheet_forbids_is_refused() {
        for (opcode, args) in [
            (0x20, vec![3]),
            (0x21, vec![0, 128]),
            (0x21, vec![9, 8]),
            (0x22, vec![0, 8]),
            (0x22, vec![5, 4]),
            (0x26, vec![0, 3, 0, 2, 0, 0xFF]),
            (0x27, vec![0, 0, 0, 7, 0, 0]),
            (0x29, vec![0, 0, 0, 7, 0]),
            (0x8D, vec![0x15]),
            (0xA8, vec![14]),
            (0xA8, vec![64]),
            (0xD3, vec![64]),
            (0xD9, vec![0x20]),
            (0xD9, vec![0x02]),
            (0xDA, vec![0x10]),
            (0xDB, vec![0x08]),
        ] {
            assert_eq!(arguments(opcode), Some(args.len()), "{opcode:02X}");
            assert!(decode(opcode, &args).is_err(), "{opcode:02X} {args:02X?}");
        }
        for opcode in [0x18, 0x1F, 0x23, 0x28, 0x80, 0xA2, 0xAD, 0xB8, 0xC1, 0xE4, 0xFF] {
            let known = arguments(opcode).is_some_and(|n| decode(opcode, &vec![0; n]).is_ok());
            // AEh and AFh are neighbours of ADh; B8h and up are not pages.
            assert!(!known, "{opcode:02X}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused_by_their_own_opcode(opcode: u8, args in prop::collection::vec(any::<u8>(), 6)) {
            match arguments(opcode) {
                None => prop_assert_eq!(decode(opcode, &[]), Err(Violation::UnknownCommand { opcode })),
                Some(count) => match decode(opcode, &args[..count]) {
                    Ok(_) => {}
                    Err(Violation::Argument { opcode: named, index, value }) => {
                        prop_assert_eq!(named, opcode);
                        prop_assert_eq!(args[index], value);
                    }
                    Err(other) => prop_assert_eq!(other, Violation::UnknownCommand { opcode }),
                },
            }
        }
    }
}
