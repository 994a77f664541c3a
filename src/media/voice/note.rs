//! Writing the Ogg Opus file of a voice note (RFC 7845).

use std::io::{self, Write};

use ogg::writing::{PacketWriteEndInfo, PacketWriter};

use crate::ids;

/// Packets on one page: a second of 20 ms frames, as RFC 7845 (6) recommends at most.
const PAGE: u32 = 50;

/// Writes packets of one mono stream, at 48,000 samples a second.
pub(super) struct NoteWriter<W: Write> {
    pages: PacketWriter<'static, W>,
    serial: u32,
    pre_skip: u16,
    /// Samples up to the end of `held`.
    samples: u64,
    on_page: u32,
    /// The last packet so far: only the end of the sound tells whether it is the last one of all.
    held: Option<Vec<u8>>,
}

impl<W: Write> NoteWriter<W> {
    /// Writes the headers. `pre_skip`: samples that a player drops at the beginning.
    pub(super) fn new(out: W, pre_skip: u16) -> io::Result<NoteWriter<W>> {
        let mut pages = PacketWriter::new(out);
        let serial = u32::from_le_bytes(ids::random());
        // 5.1: version 1, one channel, the original's rate (48 kHz, which is the encoder's input), no gain, family 0.
        let mut head = b"OpusHead\x01\x01".to_vec();
        head.extend(pre_skip.to_le_bytes());
        head.extend(48_000_u32.to_le_bytes());
        head.extend([0, 0, 0]);
        pages.write_packet(head, serial, PacketWriteEndInfo::EndPage, 0)?;
        // 5.2: who wrote it, and no comments.
        let mut tags = b"OpusTags".to_vec();
        tags.extend(5_u32.to_le_bytes());
        tags.extend(b"Kurir");
        tags.extend(0_u32.to_le_bytes());
        pages.write_packet(tags, serial, PacketWriteEndInfo::EndPage, 0)?;
        Ok(NoteWriter { pages, serial, pre_skip, samples: 0, on_page: 0, held: None })
    }

    /// Samples in the packets so far, those that are dropped at the beginning included.
    pub(super) fn samples(&self) -> u64 {
        self.samples
    }

    /// Adds a packet of so many samples.
    pub(super) fn packet(&mut self, packet: &[u8], samples: usize) -> io::Result<()> {
        if let Some(before) = self.held.replace(packet.to_vec()) {
            self.on_page += 1;
            let end = if self.on_page == PAGE {
                self.on_page = 0;
                PacketWriteEndInfo::EndPage
            } else {
                PacketWriteEndInfo::NormalPacket
            };
            self.pages.write_packet(before, self.serial, end, self.samples)?;
        }
        self.samples += samples as u64;
        Ok(())
    }

    /// Ends the stream after `heard` samples of sound; what the packets hold beyond them is cut off (4.4).
    pub(super) fn finish(mut self, heard: u64) -> io::Result<W> {
        if let Some(last) = self.held.take() {
            let end = self.samples.min(u64::from(self.pre_skip) + heard);
            self.pages.write_packet(last, self.serial, PacketWriteEndInfo::EndStream, end)?;
        }
        let mut out = self.pages.into_inner();
        out.flush()?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use ogg::PacketReader;

    use super::*;

    #[test]
    fn packets_come_back_with_their_times() {
        let mut note = NoteWriter::new(Vec::new(), 312).unwrap();
        for n in 0..120_u8 {
            note.packet(&vec![n; 30 + usize::from(n) * 4], 960).unwrap();
        }
        assert_eq!(note.samples(), 120 * 960);
        let file = note.finish(120 * 960 - 312 - 100).unwrap();
        let mut packets = PacketReader::new(Cursor::new(file));
        let head = packets.read_packet().unwrap().unwrap();
        assert!(
            head.first_in_stream() && head.data.starts_with(b"OpusHead\x01\x01\x38\x01"),
            "{:?}",
            head.data
        );
        assert!(packets.read_packet().unwrap().unwrap().data.starts_with(b"OpusTags"));
        let (mut count, mut last) = (0_u8, None);
        while let Some(packet) = packets.read_packet().unwrap() {
            assert!(packet.data.iter().all(|byte| *byte == count));
            if packet.last_in_page() && !packet.last_in_stream() {
                assert_eq!(packet.absgp_page(), (u64::from(count) + 1) * 960);
                assert_eq!((count + 1) % 50, 0);
            }
            last = Some((packet.last_in_stream(), packet.absgp_page()));
            count += 1;
        }
        assert_eq!((count, last), (120, Some((true, 120 * 960 - 100))));
    }

    #[test]
    fn a_note_of_one_packet_is_whole() {
        let mut note = NoteWriter::new(Vec::new(), 312).unwrap();
        note.packet(&[1], 960).unwrap();
        let mut packets = PacketReader::new(Cursor::new(note.finish(10).unwrap()));
        packets.delete_unread_packets();
        let third = (0..3).map(|_| packets.read_packet().unwrap().unwrap()).last().unwrap();
        assert_eq!((third.last_in_stream(), third.absgp_page()), (true, 322));
    }
}
