//! A card: an icon, a title and some lines, set as large as the place allows.

use embedded_graphics::{
    pixelcolor::Rgb565,
    prelude::*,
    primitives::{PrimitiveStyle, Rectangle},
};
use kurir_board::Frame;

use super::{
    face::{self, Face, chop, shorten, wrap},
    icons::{self, Icon},
    palette::{NOTE, Tone},
};

/// Letters of a name that are shown before it is shortened, rather than set in smaller letters.
const NAME_SHOWN: usize = 16;

/// How a line is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Between words.
    Words,
    /// Between words, but rather in smaller letters: numbers and times.
    Whole,
    /// Not at all: what is too long ends in two dots. For names, which people give.
    Name,
    /// Anywhere, if it must be: addresses.
    Address,
    /// Not at all, and as large as can be: codes to type in.
    Code,
    /// Hexadecimal digits: in groups of four if there is room.
    Hex,
    /// Between words, and what does not fit is left out: somebody else's text.
    Loose,
}

/// A line of a card, or several if it is broken.
#[derive(Debug, Clone)]
pub(super) struct Line {
    text: String,
    kind: Kind,
    color: Rgb565,
    /// May be left out where there is no room. The last of these goes first.
    optional: bool,
}

impl Line {
    /// A line of `kind` that must be there.
    pub(super) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { text: text.into(), kind, color: Rgb565::WHITE, optional: false }
    }

    /// Less bright.
    pub(super) fn quiet(mut self) -> Self {
        self.color = NOTE;
        self
    }

    /// In the colour of `tone`.
    pub(super) fn tone(mut self, tone: Tone) -> Self {
        self.color = tone.color();
        self
    }

    /// Left out where there is no room.
    pub(super) fn optional(mut self) -> Self {
        self.optional = true;
        self
    }
}

/// What is set.
#[derive(Debug, Clone)]
pub(super) struct Card {
    pub(super) icon: Option<Icon>,
    pub(super) tone: Tone,
    pub(super) title: Line,
    pub(super) lines: Vec<Line>,
    /// A bar, filled to this percentage.
    pub(super) bar: Option<u8>,
}

impl Card {
    /// A card with a title only.
    pub(super) fn new(icon: Icon, tone: Tone, title: &str) -> Self {
        let title = Line::new(Kind::Words, title).tone(tone);
        Self { icon: Some(icon), tone, title, lines: Vec::new(), bar: None }
    }

    /// The same with one more line.
    pub(super) fn line(mut self, line: Line) -> Self {
        self.lines.push(line);
        self
    }

    /// The words of the title.
    pub(super) fn title_text(&self) -> &str {
        &self.title.text
    }

    /// The same with a line of words.
    pub(super) fn words(self, text: impl Into<String>) -> Self {
        self.line(Line::new(Kind::Words, text))
    }
}

/// How cards are set in places of about one size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    /// Fonts of title and lines, the preferred first.
    faces: &'static [(Face, Face)],
    /// How many of them are tried before an optional line is left out.
    comfortable: usize,
    /// Fonts of codes, the preferred first.
    codes: &'static [Face],
    /// Multiples of the icon, the preferred first; 0 is no icon.
    icons: &'static [u32],
    /// The icon stands beside the title and not above it, and the lines begin at the left.
    beside: bool,
    /// The widest gap between two lines.
    gap: u32,
    /// The bar's height.
    bar: u32,
}

impl Style {
    /// For a panel 32 pixels high.
    pub(super) const STRIP: Self = Self {
        faces: &[
            (face::WIDE_BOLD, face::COMPACT),
            (face::PLAIN, face::COMPACT),
            (face::BODY, face::BODY),
            (face::BODY, face::SMALL),
            (face::SMALL, face::SMALL),
            (face::TINY, face::TINY),
        ],
        comfortable: 4,
        codes: &[face::HUGE, face::MEDIUM_BOLD, face::WIDE_BOLD],
        icons: &[1, 0],
        beside: true,
        gap: 2,
        bar: 4,
    };
    /// For a panel 64 pixels high.
    pub(super) const WIDE: Self = Self {
        faces: &[
            (face::WIDE_BOLD, face::WIDE),
            (face::WIDE_BOLD, face::ROOMY),
            (face::WIDE_BOLD, face::BODY),
            (face::PLAIN, face::BODY),
            (face::BODY, face::COMPACT),
            (face::SMALL, face::SMALL),
            (face::TINY, face::TINY),
        ],
        comfortable: 5,
        codes: &[face::HUGE, face::MEDIUM_BOLD, face::WIDE_BOLD],
        icons: &[1, 0],
        beside: true,
        gap: 3,
        bar: 7,
    };
    /// For the space beside a QR on such a panel.
    pub(super) const NARROW: Self = Self {
        faces: &[
            (face::WIDE_BOLD, face::BODY),
            (face::PLAIN, face::BODY),
            (face::BODY, face::COMPACT),
            (face::SMALL, face::SMALL),
            (face::TINY, face::TINY),
        ],
        comfortable: 5,
        codes: &[face::HUGE, face::MEDIUM_BOLD, face::WIDE_BOLD, face::SMALL],
        icons: &[0],
        beside: false,
        gap: 3,
        bar: 4,
    };
    /// For a panel of 128 by 128 pixels.
    pub(super) const SQUARE: Self = Self {
        faces: &[
            (face::BROAD_BOLD, face::WIDE),
            (face::WIDE_BOLD, face::WIDE),
            (face::BROAD_BOLD, face::ROOMY),
            (face::WIDE_BOLD, face::ROOMY),
            (face::PLAIN, face::BODY),
            (face::SMALL, face::SMALL),
        ],
        comfortable: 5,
        codes: &[face::HUGE, face::MEDIUM_BOLD],
        icons: &[3, 2, 0],
        beside: false,
        gap: 4,
        bar: 9,
    };
    /// For a panel of 240 by 240 pixels.
    pub(super) const LARGE: Self = Self {
        faces: &[
            (face::DOUBLE_BROAD, face::HUGE),
            (face::DOUBLE_WIDE, face::HUGE),
            (face::DOUBLE_PLAIN, face::HUGE),
            (face::HUGE, face::LARGE),
            (face::LARGE_BOLD, face::LARGE),
            (face::MEDIUM_BOLD, face::MEDIUM),
        ],
        comfortable: 5,
        codes: &[face::POSTER, face::DOUBLE_BROAD, face::HUGE],
        icons: &[6, 5, 4, 3, 0],
        beside: false,
        gap: 8,
        bar: 16,
    };
}

/// A piece of text in its place.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub(super) text: String,
    pub(super) face: Face,
    pub(super) at: Point,
    color: Rgb565,
}

/// A card in its place.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) texts: Vec<Placed>,
    icon: Option<(Icon, Point, u32, Rgb565)>,
    bar: Option<(Rectangle, u8, Rgb565)>,
}

struct Row {
    text: String,
    face: Face,
    color: Rgb565,
    code: bool,
}

/// One way to set a card.
struct Choice {
    title: Face,
    body: Face,
    code: Face,
    icon: u32,
    /// Long titles are broken, addresses too.
    yielding: bool,
    /// The last choice: what may be cut is cut.
    last: bool,
}

/// Sets `card` in `area`. Where not all that must be there fits, what is at the top is set in the smallest letters.
pub(super) fn lay_out(card: &Card, area: Rectangle, style: &Style) -> Layout {
    lay_out_whole(card, area, style).unwrap_or_else(|| {
        let (title, body) = style.faces[style.faces.len() - 1];
        let code = style.codes[style.codes.len() - 1];
        let choice = Choice { title, body, code, icon: 0, yielding: true, last: true };
        let lines = kept(&card.lines, 0);
        let mut rows = rows(card, &lines, area.size.width, u32::MAX, style, &choice).unwrap_or_default();
        rows.truncate((area.size.height / body.height()) as usize);
        place(card, &rows, area, style, 0)
    })
}

/// The same if all that must be there fits.
pub(super) fn lay_out_whole(card: &Card, area: Rectangle, style: &Style) -> Option<Layout> {
    let height = height_for_text(card, area, style);
    let optional = card.lines.iter().filter(|l| l.optional).count();
    let has_code = card.lines.iter().any(|l| l.kind == Kind::Code);
    let codes = if has_code { style.codes } else { &style.codes[..1] };
    let icons = if card.icon.is_some() { style.icons } else { &[0] };
    let loose = card.lines.iter().any(|l| l.kind == Kind::Loose);
    for dropped in 0..=optional {
        let lines = kept(&card.lines, optional - dropped);
        let faces = if dropped < optional { style.comfortable } else { style.faces.len() };
        for yielding in [false, true] {
            for &code in codes {
                for (i, &(title, body)) in style.faces[..faces].iter().enumerate() {
                    // An icon goes before a line does, but not for larger letters, unless they are smaller than it.
                    let icon_stays = icons[0] > 0 && !yielding && title.height() + 1 >= icons::SIDE;
                    for &icon in icons.iter().filter(|i| **i > 0 || !icon_stays) {
                        let last = loose && yielding && icon == 0 && i + 1 == style.faces.len();
                        let choice = Choice { title, body, code, icon, yielding, last };
                        if let Some(rows) = rows(card, &lines, area.size.width, height, style, &choice) {
                            return Some(place(card, &rows, area, style, icon));
                        }
                    }
                }
            }
        }
    }
    None
}

/// What the bar leaves.
fn height_for_text(card: &Card, area: Rectangle, style: &Style) -> u32 {
    let bar = if card.bar.is_some() { style.bar + 2 } else { 0 };
    area.size.height.saturating_sub(bar)
}

/// `lines` with the first `optional` of the optional ones.
fn kept(lines: &[Line], optional: usize) -> Vec<&Line> {
    let mut seen = 0;
    let stays = |line: &&Line| {
        seen += usize::from(line.optional);
        !line.optional || seen <= optional
    };
    lines.iter().filter(stays).collect()
}

/// How wide the icon and its gap are where it stands beside the title.
fn indent(style: &Style, icon: u32) -> u32 {
    if style.beside && icon > 0 { icons::SIDE * icon + 3 } else { 0 }
}

/// The rows of `card` by `choice`; `None` if they do not fit.
fn rows(
    card: &Card,
    lines: &[&Line],
    width: u32,
    height: u32,
    style: &Style,
    choice: &Choice,
) -> Option<Vec<Row>> {
    if style.beside && icons::SIDE * choice.icon > choice.title.height() + 1 {
        return None;
    }
    let mut rows = Vec::new();
    let columns = choice.title.columns(width.saturating_sub(indent(style, choice.icon)));
    let titles = broken(&card.title, columns, choice)?;
    if titles.len() > 1 && !choice.yielding {
        return None;
    }
    for text in titles {
        rows.push(Row { text, face: choice.title, color: card.title.color, code: false });
    }
    let above =
        if style.beside { 0 } else { icons::SIDE * choice.icon + if choice.icon > 0 { 2 } else { 0 } };
    let mut loose = None;
    for line in lines {
        let face = if line.kind == Kind::Code { choice.code } else { choice.body };
        for text in broken(line, face.columns(width), choice)? {
            rows.push(Row { text, face, color: line.color, code: line.kind == Kind::Code });
        }
        if line.kind == Kind::Loose {
            loose = Some(rows.len());
        }
    }
    let total = |rows: &[Row]| above + rows.iter().map(|r| r.face.height()).sum::<u32>();
    if let (true, Some(mut end)) = (choice.last, loose) {
        let columns = choice.body.columns(width);
        while total(&rows) > height && end > 2 {
            rows.remove(end - 1);
            end -= 1;
            let row = &mut rows[end - 1];
            row.text = format!("{}..", shorten(&row.text, columns.saturating_sub(2)).trim_end_matches('.'));
        }
    }
    (total(&rows) <= height).then_some(rows)
}

/// The rows of one line.
fn broken(line: &Line, columns: usize, choice: &Choice) -> Option<Vec<String>> {
    let fits = line.text.chars().count() <= columns;
    match line.kind {
        Kind::Words => wrap(&line.text, columns),
        Kind::Whole if fits || choice.yielding => wrap(&line.text, columns),
        Kind::Whole => None,
        Kind::Name if fits || choice.yielding || columns >= NAME_SHOWN => {
            Some(vec![shorten(&line.text, columns)])
        }
        Kind::Name => None,
        Kind::Code => fits.then(|| vec![line.text.clone()]),
        Kind::Address if fits => Some(vec![line.text.clone()]),
        Kind::Address => choice.yielding.then(|| chop(&line.text, columns)),
        Kind::Hex if choice.yielding => Some(chop(&line.text, columns)),
        // Four groups a row, as people compare them.
        Kind::Hex if columns < 19 => None,
        Kind::Hex => wrap(&chop(&line.text, 4).join(" "), 19),
        Kind::Loose => wrap(&line.text, columns).or_else(|| {
            let words = line.text.split(' ').flat_map(|w| chop(w, columns)).collect::<Vec<_>>();
            wrap(&words.join(" "), columns)
        }),
    }
}

fn place(card: &Card, rows: &[Row], area: Rectangle, style: &Style, icon: u32) -> Layout {
    let height = height_for_text(card, area, style);
    let indent = indent(style, icon);
    let icon_height = if style.beside { 0 } else { icons::SIDE * icon };
    let used = icon_height + rows.iter().map(|r| r.face.height()).sum::<u32>();
    let pieces = rows.len() as u32 + u32::from(icon_height > 0);
    let spare = height.saturating_sub(used);
    let gap = (spare / pieces.max(1)).min(style.gap);
    let mut y = area.top_left.y + ((spare - gap * pieces.saturating_sub(1)) / 2) as i32;
    if style.beside && spare > gap * pieces {
        // A title stays where it is, at the top, whatever is below it.
        y = area.top_left.y + ((spare - gap * pieces) / 2).min(2) as i32;
    }
    let left = area.top_left.x;
    let centre = |width: u32| left + (area.size.width.saturating_sub(width) / 2) as i32;
    let mut layout = Layout { texts: Vec::new(), icon: None, bar: None };
    if let Some(picture) = card.icon.filter(|_| icon > 0) {
        let side = icons::SIDE * icon;
        let title = rows.first().map_or(side, |r| r.face.height());
        let at = if style.beside {
            Point::new(left, y + (title as i32 - side as i32) / 2)
        } else {
            Point::new(centre(side), y)
        };
        layout.icon = Some((picture, at, icon, card.tone.color()));
        if !style.beside {
            y += (side + gap) as i32;
        }
    }
    for (i, row) in rows.iter().enumerate() {
        let x = match (style.beside, i) {
            (true, 0) => left + indent as i32,
            (true, _) if !row.code => left,
            _ => centre(row.face.width(&row.text)),
        };
        layout.texts.push(Placed {
            text: row.text.clone(),
            face: row.face,
            at: Point::new(x, y),
            color: row.color,
        });
        y += (row.face.height() + gap) as i32;
    }
    if let Some(percent) = card.bar {
        let top = area.top_left.y + area.size.height.saturating_sub(style.bar) as i32;
        let place = Rectangle::new(Point::new(left, top), Size::new(area.size.width, style.bar));
        layout.bar = Some((place, percent, card.tone.color()));
    }
    layout
}

impl Layout {
    /// Draws it.
    pub(super) fn draw(&self, frame: &mut Frame) {
        if let Some((icon, at, scale, color)) = self.icon {
            icon.draw(frame, at, scale, color);
        }
        for text in &self.texts {
            text.face.write(frame, &text.text, text.at, text.color);
        }
        if let Some((place, percent, color)) = self.bar {
            draw_bar(frame, place, percent, color);
        }
    }
}

fn draw_bar(frame: &mut Frame, place: Rectangle, percent: u8, color: Rgb565) {
    let Ok(()) = place.into_styled(PrimitiveStyle::with_stroke(color, 1)).draw(frame);
    let inside = place.size.saturating_sub(Size::new(4, 4));
    let size = Size::new(inside.width * u32::from(percent.min(100)) / 100, inside.height.max(1));
    let filled = Rectangle::new(place.top_left + Point::new(2, 2), size);
    let Ok(()) = filled.into_styled(PrimitiveStyle::with_fill(color)).draw(frame);
}
