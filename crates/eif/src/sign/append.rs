//! Putting a signature behind an image that was written.

use crate::{
    error::{EifError, ReadError},
    format::{CRC_LEN, HEADER_LEN, Header, MAX_SECTIONS, SectionSpan, encode_section, u64_from},
    kind::SectionKind,
};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};

/// Appends a signature section to an unsigned image of ours, and corrects its header.
///
/// The bytes are those that nitro-cli writes when it signs while it builds.
pub fn append_signature(
    image: &mut (impl Read + Write + Seek),
    section: &[u8],
) -> Result<(), ReadError> {
    image.rewind().map_err(ReadError::Io)?;
    let mut header = [0; HEADER_LEN];
    image.read_exact(&mut header).map_err(ReadError::Io)?;
    let mut header = Header::parse(&header).map_err(ReadError::Eif)?;
    if header.sections.len() >= MAX_SECTIONS {
        let found = u16::try_from(MAX_SECTIONS + 1).unwrap_or(u16::MAX);
        return Err(ReadError::Eif(EifError::TooManySections { found }));
    }
    let span = SectionSpan { offset: header.file_size(), size: u64_from(section.len()) };
    header.sections.push(span);
    image
        .seek(SeekFrom::Start(span.offset))
        .and_then(|_| image.write_all(&encode_section(SectionKind::Signature, span.size)))
        .and_then(|()| image.write_all(section))
        .and_then(|()| image.seek(SeekFrom::Start(u64_from(HEADER_LEN))).map(drop))
        .map_err(ReadError::Io)?;
    let mut crc = crc32fast::Hasher::new();
    crc.update(header.encode().get(..HEADER_LEN - CRC_LEN).unwrap_or_default());
    digest(image, &mut crc).map_err(ReadError::Io)?;
    header.crc32 = crc.finalize();
    image
        .rewind()
        .and_then(|()| image.write_all(&header.encode()))
        .and_then(|()| image.seek(SeekFrom::End(0)).map(drop))
        .and_then(|()| image.flush())
        .map_err(ReadError::Io)
}

fn digest(image: &mut impl Read, crc: &mut crc32fast::Hasher) -> io::Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match image.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => crc.update(buffer.get(..count).unwrap_or_default()),
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
}
