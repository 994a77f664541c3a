//! Looking inside the three containers whose first bytes do not say what they hold: ZIP (OOXML, OpenDocument),
//! OLE compound files (the older Office formats) and MP4 (sound or film).
//!
//! Every walk is bounded in bytes and in steps: the files come from anybody.

use std::io::{self, Read, Seek, SeekFrom};

/// What a ZIP archive is known to be by its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zip {
    Docx,
    Xlsx,
    Pptx,
    Plain,
}

/// What an OLE compound file is known to be by its streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ole {
    Doc,
    Xls,
    Ppt,
    Other,
}

/// Reads up to `length` bytes at `at`; fewer at the end of the file.
pub(super) fn read_at(file: &mut (impl Read + Seek), at: u64, length: usize) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::new();
    file.take(length as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_le_bytes)
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

/// The central directory's entries are read rather than the first local headers: writers differ in the order of
/// the files inside, and some put images first.
pub(super) fn zip(file: &mut (impl Read + Seek)) -> io::Result<Zip> {
    // APPNOTE.TXT 4.3.16: the end record is 22 bytes and a comment of at most 65,535.
    const TAIL: u64 = 22 + 65_535;
    const MAX_DIRECTORY: u32 = 1024 * 1024;
    let length = file.seek(SeekFrom::End(0))?;
    let tail = read_at(file, length.saturating_sub(TAIL), TAIL as usize)?;
    let Some(end) = tail.windows(4).rposition(|w| w == b"PK\x05\x06") else { return Ok(Zip::Plain) };
    let (Some(size), Some(start)) = (le32(&tail, end + 12), le32(&tail, end + 16)) else {
        return Ok(Zip::Plain);
    };
    let directory = read_at(file, u64::from(start), size.min(MAX_DIRECTORY) as usize)?;

    // ECMA-376 part 2: every package has a content-types part; the main part's folder tells the application.
    let (mut package, mut kind) = (false, None);
    let mut at = 0;
    while directory.get(at..at + 4) == Some(b"PK\x01\x02") {
        let lengths = [28, 30, 32].map(|offset| le16(&directory, at + offset).map(usize::from));
        let [Some(name), Some(extra), Some(comment)] = lengths else { break };
        let Some(entry) = directory.get(at + 46..at + 46 + name) else { break };
        package |= entry == b"[Content_Types].xml";
        kind = kind.or(match entry {
            _ if entry.starts_with(b"word/") => Some(Zip::Docx),
            _ if entry.starts_with(b"xl/") => Some(Zip::Xlsx),
            _ if entry.starts_with(b"ppt/") => Some(Zip::Pptx),
            _ => None,
        });
        at += 46 + name + extra + comment;
    }
    Ok(kind.filter(|_| package).unwrap_or(Zip::Plain))
}

/// MS-CFB 2.2 (header) and 2.6 (directory entries).
pub(super) fn ole(file: &mut (impl Read + Seek)) -> io::Result<Ole> {
    // 64 sectors of 512 bytes are 256 directory entries; the telling stream is among the first dozen.
    const MAX_SECTORS: usize = 64;
    const END: u32 = 0xffff_fffa;
    let header = read_at(file, 0, 512)?;
    let (Some(shift), Some(mut sector)) = (le16(&header, 30), le32(&header, 48)) else {
        return Ok(Ole::Other);
    };
    if !(9..=12).contains(&shift) {
        return Ok(Ole::Other);
    }
    let sector_size = 1_u32 << shift;
    let offset_of = |sector: u32| (u64::from(sector) + 1) << shift;
    for _ in 0..MAX_SECTORS {
        if sector >= END {
            break;
        }
        let entries = read_at(file, offset_of(sector), sector_size as usize)?;
        if entries.is_empty() {
            break;
        }
        if let Some(kind) = entries.chunks_exact(128).find_map(ole_stream) {
            return Ok(kind);
        }
        // The next sector of the directory, from the file allocation table; its first 109 sectors are in the header.
        let per_sector = sector_size / 4;
        let Some(table) = usize::try_from(sector / per_sector).ok().filter(|table| *table < 109) else {
            break;
        };
        let Some(table) = le32(&header, 76 + 4 * table).filter(|table| *table < END) else { break };
        let next = read_at(file, offset_of(table) + u64::from(sector % per_sector) * 4, 4)?;
        let Some(next) = le32(&next, 0) else { break };
        sector = next;
    }
    Ok(Ole::Other)
}

fn ole_stream(entry: &[u8]) -> Option<Ole> {
    let length = usize::from(le16(entry, 64)?).checked_sub(2)?;
    let units =
        entry.get(..length.min(64))?.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    match String::from_utf16_lossy(&units.collect::<Vec<_>>()).as_str() {
        "WordDocument" => Some(Ole::Doc),
        "Workbook" | "Book" => Some(Ole::Xls),
        "PowerPoint Document" => Some(Ole::Ppt),
        _ => None,
    }
}

/// Whether an MP4 (ISO/IEC 14496-12) has a film track, or `None` if it names no track at all.
pub(super) fn mp4_has_video(file: &mut (impl Read + Seek)) -> io::Result<Option<bool>> {
    let end = file.seek(SeekFrom::End(0))?;
    let mut walk = Boxes::new(file);
    let mut found = None;
    for moov in walk.within(0, end, b"moov")? {
        for track in walk.within(moov.0, moov.1, b"trak")? {
            for media in walk.within(track.0, track.1, b"mdia")? {
                for handler in walk.within(media.0, media.1, b"hdlr")? {
                    // 8.4.3: version and flags, pre_defined, then the handler's type.
                    match read_at(walk.file, handler.0 + 8, 4)?.as_slice() {
                        b"vide" => return Ok(Some(true)),
                        b"soun" => found = Some(false),
                        _ => {}
                    }
                }
            }
        }
    }
    Ok(found)
}

/// Walks the boxes of an MP4 (ISO/IEC 14496-12, 4.2).
pub(super) struct Boxes<'a, F> {
    pub(super) file: &'a mut F,
    /// Box headers that may still be read.
    left: usize,
}

impl<'a, F: Read + Seek> Boxes<'a, F> {
    pub(super) fn new(file: &'a mut F) -> Self {
        Self { file, left: 512 }
    }

    /// The bodies, as (start, end), of the boxes of one type between two offsets.
    pub(super) fn within(&mut self, mut at: u64, end: u64, wanted: &[u8; 4]) -> io::Result<Vec<(u64, u64)>> {
        let mut found = Vec::new();
        while at < end && self.left > 0 {
            self.left -= 1;
            let header = read_at(self.file, at, 16)?;
            let Some((size, name)) = header.first_chunk::<8>().map(|h| h.split_at(4)) else { break };
            let size = size.iter().fold(0, |size, byte| size << 8 | u64::from(*byte));
            let (head, size) = match size {
                // To the end of the file.
                0 => (8, end - at),
                1 => match header.get(8..16) {
                    Some(long) => (16, long.iter().fold(0, |size, byte| size << 8 | u64::from(*byte))),
                    None => break,
                },
                size => (8, size),
            };
            let Some(next) = at.checked_add(size).filter(|_| size >= head) else { break };
            if name == wanted {
                found.push((at + head, next.min(end)));
            }
            at = next;
        }
        Ok(found)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    /// A ZIP with empty stored entries of these names, in this order.
    pub(in super::super) fn zip_file(names: &[&str]) -> Vec<u8> {
        let (mut file, mut directory) = (Vec::new(), Vec::new());
        for name in names {
            let (offset, length) = (file.len() as u32, name.len() as u16);
            file.extend(b"PK\x03\x04\x14\0\0\0\0\0\0\0\x21\0\0\0\0\0\0\0\0\0\0\0\0\0");
            file.extend(length.to_le_bytes());
            file.extend([0, 0]);
            file.extend(name.as_bytes());
            directory.extend(b"PK\x01\x02\x14\0\x14\0\0\0\0\0\0\0\x21\0\0\0\0\0\0\0\0\0\0\0\0\0");
            directory.extend(length.to_le_bytes());
            directory.extend([0; 12]);
            directory.extend(offset.to_le_bytes());
            directory.extend(name.as_bytes());
        }
        let (start, size, count) = (file.len() as u32, directory.len() as u32, names.len() as u16);
        file.extend(directory);
        file.extend(b"PK\x05\x06\0\0\0\0");
        file.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
        file.extend([size.to_le_bytes(), start.to_le_bytes()].concat());
        file.extend([0, 0]);
        file
    }

    /// A compound file whose directory holds these streams. The directory's sectors are deliberately not
    /// neighbours: they are numbered 1, 3, 5 …
    pub(in super::super) fn ole_file(streams: &[&str]) -> Vec<u8> {
        let mut header = vec![0; 512];
        header[..8].copy_from_slice(&[0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1]);
        header[26] = 3;
        header[30] = 9;
        header[48..52].copy_from_slice(&1_u32.to_le_bytes());
        header[76..].fill(0xff);
        header[76..80].copy_from_slice(&0_u32.to_le_bytes());
        let mut names = vec!["Root Entry"];
        names.extend(streams);
        let sectors: Vec<Vec<u8>> = names
            .chunks(4)
            .map(|names| {
                let mut sector = vec![0; 512];
                for (entry, name) in sector.chunks_mut(128).zip(names) {
                    let units: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
                    entry[..units.len()].copy_from_slice(&units);
                    entry[64..66].copy_from_slice(&(units.len() as u16 + 2).to_le_bytes());
                }
                sector
            })
            .collect();
        let mut table = vec![0xff; 512];
        for i in 0..sectors.len() {
            let next = if i + 1 == sectors.len() { 0xffff_fffe } else { 2 * i as u32 + 3 };
            let at = (2 * i + 1) * 4;
            table[at..at + 4].copy_from_slice(&next.to_le_bytes());
        }
        let mut file = [header, table].concat();
        for sector in sectors {
            file.extend(sector);
            file.extend([0; 512]);
        }
        file
    }

    fn mp4_box(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
        [&(body.len() as u32 + 8).to_be_bytes()[..], name, body].concat()
    }

    /// An MP4 of this brand with a track for each handler, its `moov` behind 64 KiB of media as recorders write it.
    pub(in super::super) fn mp4_file(brand: &[u8; 4], handlers: &[&[u8; 4]]) -> Vec<u8> {
        let tracks: Vec<u8> = handlers
            .iter()
            .flat_map(|handler| {
                let handler = [&[0; 8][..], &handler[..], &[0; 12]].concat();
                mp4_box(b"trak", &mp4_box(b"mdia", &mp4_box(b"hdlr", &handler)))
            })
            .collect();
        let ftyp = mp4_box(b"ftyp", &[&brand[..], &[0, 0, 2, 0], b"isomiso2"].concat());
        [ftyp, mp4_box(b"mdat", &[7; 64 * 1024]), mp4_box(b"moov", &tracks)].concat()
    }

    fn zip_kind(names: &[&str]) -> Zip {
        zip(&mut Cursor::new(zip_file(names))).unwrap()
    }

    #[test]
    fn a_zip_is_an_office_file_whatever_the_order_inside() {
        assert_eq!(zip_kind(&["[Content_Types].xml", "_rels/.rels", "word/document.xml"]), Zip::Docx);
        assert_eq!(zip_kind(&["xl/media/a.png", "xl/workbook.xml", "[Content_Types].xml"]), Zip::Xlsx);
        assert_eq!(zip_kind(&["docProps/app.xml", "ppt/slides/1.xml", "[Content_Types].xml"]), Zip::Pptx);
        assert_eq!(zip_kind(&["word/list.txt", "photo.jpg"]), Zip::Plain);
        assert_eq!(zip_kind(&["[Content_Types].xml"]), Zip::Plain);
        assert_eq!(zip_kind(&[]), Zip::Plain);
        assert_eq!(zip(&mut Cursor::new(b"PK\x03\x04 cut")).unwrap(), Zip::Plain);
    }

    #[test]
    fn a_compound_file_is_known_by_its_streams() {
        let kind = |streams: &[&str]| ole(&mut Cursor::new(ole_file(streams))).unwrap();
        assert_eq!(kind(&["WordDocument"]), Ole::Doc);
        assert_eq!(kind(&["Data", "1Table", "a", "b", "c", "d", "e", "f", "WordDocument"]), Ole::Doc);
        assert_eq!(kind(&["Workbook"]), Ole::Xls);
        assert_eq!(kind(&["Book"]), Ole::Xls);
        assert_eq!(kind(&["Current User", "PowerPoint Document"]), Ole::Ppt);
        assert_eq!(kind(&["__properties_version1.0"]), Ole::Other);
    }

    #[test]
    fn a_directory_that_loops_ends() {
        let mut file = ole_file(&["a"]);
        file[512 + 4..512 + 8].copy_from_slice(&1_u32.to_le_bytes());
        assert_eq!(ole(&mut Cursor::new(file)).unwrap(), Ole::Other);
    }

    #[test]
    fn an_mp4_is_film_or_sound_by_its_tracks() {
        let video =
            |handlers: &[&[u8; 4]]| mp4_has_video(&mut Cursor::new(mp4_file(b"isom", handlers))).unwrap();
        assert_eq!(video(&[b"soun", b"vide"]), Some(true));
        assert_eq!(video(&[b"soun"]), Some(false));
        assert_eq!(video(&[b"hint"]), None);
        assert_eq!(video(&[]), None);
    }

    proptest! {
        #[test]
        fn broken_files_end_without_a_panic(which in 0_usize..3, at in 0_usize..1200, bytes in prop::collection::vec(any::<u8>(), 1..24), cut in 0_usize..2000) {
            let mut file = match which {
                0 => zip_file(&["[Content_Types].xml", "word/document.xml"]),
                1 => ole_file(&["a", "b", "c", "d", "e", "Workbook"]),
                _ => mp4_file(b"isom", &[b"soun", b"vide"]).split_off(64 * 1024),
            };
            for (i, byte) in bytes.iter().enumerate() {
                let length = file.len();
                file[(at + i) % length] = *byte;
            }
            file.truncate(cut.max(1));
            let mut file = Cursor::new(file);
            let _ = zip(&mut file).unwrap();
            let _ = ole(&mut file).unwrap();
            let _ = mp4_has_video(&mut file).unwrap();
        }
    }
}
