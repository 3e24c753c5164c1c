//! The seal: frames around a stream, and a last one that is written only when everything went well.
//!
//! A pipe, a FIFO or an ssh in between has no sign for a stream that was cut. A sealed stream carries its own: without its last
//! frame it is not whole. Bytes in, bytes out; nothing here reads or writes. docs/seal.md has the format.

use sha2::{Digest, Sha256};
use std::fmt;

/// What a sealed stream begins with. The version follows.
const MARK: &[u8; 7] = b"\x89WTSEAL";
const VERSION: u8 = 1;
/// A frame's kind, and the length of what follows.
const HEAD_BYTES: usize = 5;
/// The most data in one frame.
const FRAME_DATA_BYTES_MAX: usize = 64 * 1024;
/// The length of the data, and their hash.
const END_BYTES: usize = LENGTH_BYTES + HASH_BYTES;
const LENGTH_BYTES: usize = 8;
const HASH_BYTES: usize = 32;

/// The kinds of frames.
const CUT: u8 = b'C';
const DATA: u8 = b'D';
const END: u8 = b'E';

/// More than what the beginning and the frames add to 128 KiB of data, and more than the last frame has.
pub(crate) const ADDED_BYTES_MAX: u64 = 64;

/// Puts a stream into frames. What it gives is to be sent in this order, with nothing between.
#[derive(Debug, Default)]
pub(crate) struct Sealer {
    data_bytes: u64,
    is_begun: bool,
    is_over: bool,
}

impl Sealer {
    /// The chunk in frames; nothing after the last frame.
    pub(crate) fn data(&mut self, chunk: &[u8]) -> Option<Vec<u8>> {
        if self.is_over {
            return None;
        }
        let heads = chunk.len().div_ceil(FRAME_DATA_BYTES_MAX) * HEAD_BYTES;
        let mut message = self.message(heads + chunk.len());
        for data in chunk.chunks(FRAME_DATA_BYTES_MAX) {
            put_frame(&mut message, DATA, data);
        }
        self.data_bytes += chunk.len() as u64;
        Some(message)
    }

    /// The last frame, once: the end mark with the hash of all data, or without a hash the word that the stream is cut.
    pub(crate) fn last(&mut self, hash: Option<[u8; HASH_BYTES]>) -> Option<Vec<u8>> {
        if std::mem::replace(&mut self.is_over, true) {
            return None;
        }
        let mut message = self.message(HEAD_BYTES + END_BYTES);
        match hash {
            None => put_frame(&mut message, CUT, &[]),
            Some(hash) => {
                let mut end = [0; END_BYTES];
                end[..LENGTH_BYTES].copy_from_slice(&self.data_bytes.to_be_bytes());
                end[LENGTH_BYTES..].copy_from_slice(&hash);
                put_frame(&mut message, END, &end);
            }
        }
        Some(message)
    }

    /// A message with room for so many bytes of frames; the first one has the beginning in it.
    fn message(&mut self, bytes: usize) -> Vec<u8> {
        let mut message = Vec::with_capacity(MARK.len() + 1 + bytes);
        if !std::mem::replace(&mut self.is_begun, true) {
            message.extend_from_slice(MARK);
            message.push(VERSION);
        }
        message
    }
}

fn put_frame(message: &mut Vec<u8>, kind: u8, content: &[u8]) {
    let length = u32::try_from(content.len()).expect("a frame is at most 64 KiB");
    message.push(kind);
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(content);
}

/// Why a stream is not a whole sealed one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SealError {
    /// The sender says so, after so many bytes of data.
    Cut(u64),
    /// Frames or data are not what was sent.
    Damaged(&'static str),
    /// Bytes came behind the end mark.
    Followed,
    /// It ended without an end mark, after so many bytes of data.
    Unfinished(u64),
    /// It does not begin like a sealed stream.
    Unsealed,
    /// Another version of the format.
    Version(u8),
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut(bytes) => write!(
                f,
                "the sender says that the stream is cut: it failed or was stopped; {bytes} bytes came; its own report has the reason"
            ),
            Self::Damaged(what) => write!(
                f,
                "the sealed stream is damaged: {what}; is something in between that changes bytes, such as a terminal (`ssh -t`)?"
            ),
            Self::Followed => f.write_str(
                "bytes follow the end of the sealed stream: somebody else writes there too",
            ),
            Self::Unfinished(bytes) => write!(
                f,
                "the stream ended without its seal: the sender failed or was cut off; {bytes} bytes came"
            ),
            Self::Unsealed => f.write_str(
                "this is no sealed stream: have the sender write one (`copy --seal`), or leave out --sealed",
            ),
            Self::Version(version) => write!(
                f,
                "the stream is sealed in version {version} of the format, and this program knows version {VERSION}: take the same watertight on both sides"
            ),
        }
    }
}

/// What the next byte that is no data belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Expected {
    Beginning,
    /// What an end mark has behind its head.
    End,
    Head,
    /// The end mark has come, and everything fits.
    Nothing,
}

/// Takes a sealed stream out of its frames, and checks it. It holds no data and needs the same memory for any stream.
pub(crate) struct Decoder {
    expected: Expected,
    /// So many bytes of the frame's data are to come before that.
    data_left: usize,
    /// What has come of a beginning, a head or an end mark.
    part: [u8; END_BYTES],
    part_bytes: usize,
    data_bytes: u64,
    hash: Sha256,
    failure: Option<SealError>,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self {
            expected: Expected::Beginning,
            data_left: 0,
            part: [0; END_BYTES],
            part_bytes: 0,
            data_bytes: 0,
            hash: Sha256::new(),
            failure: None,
        }
    }

    /// Takes the stream's next bytes, and moves the data among them to the front. Says how many those are. Behind a failure there
    /// are none.
    pub(crate) fn strip(&mut self, bytes: &mut [u8]) -> usize {
        let (mut at, mut kept) = (0, 0);
        while at < bytes.len() && self.failure.is_none() {
            if self.data_left == 0 {
                self.failure = self.take(bytes[at]).err();
                at += 1;
                continue;
            }
            let n = self.data_left.min(bytes.len() - at);
            self.hash.update(&bytes[at..at + n]);
            bytes.copy_within(at..at + n, kept);
            self.data_left -= n;
            self.data_bytes += n as u64;
            at += n;
            kept += n;
        }
        kept
    }

    /// What is wrong with the stream so far.
    pub(crate) fn failure(&self) -> Option<SealError> {
        self.failure
    }

    /// The stream has ended: whether it is whole.
    pub(crate) fn finish(&self) -> Result<(), SealError> {
        match self.failure {
            Some(failure) => Err(failure),
            None if self.expected == Expected::Nothing => Ok(()),
            None => Err(SealError::Unfinished(self.data_bytes)),
        }
    }

    /// Takes a byte that is no data.
    fn take(&mut self, byte: u8) -> Result<(), SealError> {
        self.part[self.part_bytes] = byte;
        self.part_bytes += 1;
        let came = self.part_bytes;
        match self.expected {
            // Told at the first byte that differs.
            Expected::Beginning if came <= MARK.len() => {
                if MARK[came - 1] == byte {
                    Ok(())
                } else {
                    Err(SealError::Unsealed)
                }
            }
            Expected::Beginning if byte != VERSION => Err(SealError::Version(byte)),
            Expected::Beginning => {
                self.expect(Expected::Head);
                Ok(())
            }
            Expected::End if came < END_BYTES => Ok(()),
            Expected::End => self.take_end(),
            Expected::Head if came < HEAD_BYTES => Ok(()),
            Expected::Head => self.take_head(),
            Expected::Nothing => Err(SealError::Followed),
        }
    }

    fn expect(&mut self, expected: Expected) {
        self.expected = expected;
        self.part_bytes = 0;
    }

    fn take_head(&mut self) -> Result<(), SealError> {
        let [kind, a, b, c, d, ..] = self.part;
        let length = u32::from_be_bytes([a, b, c, d]);
        match (kind, usize::try_from(length).unwrap_or(usize::MAX)) {
            (CUT, 0) => Err(SealError::Cut(self.data_bytes)),
            (DATA, length @ 1..=FRAME_DATA_BYTES_MAX) => {
                self.data_left = length;
                self.expect(Expected::Head);
                Ok(())
            }
            (END, END_BYTES) => {
                self.expect(Expected::End);
                Ok(())
            }
            (CUT | DATA | END, _) => Err(SealError::Damaged("a frame has a wrong length")),
            (_, _) => Err(SealError::Damaged("a frame is of no known kind")),
        }
    }

    fn take_end(&mut self) -> Result<(), SealError> {
        let hash: [u8; HASH_BYTES] = std::mem::take(&mut self.hash).finalize().into();
        let (length_sent, hash_sent) = self.part.split_at(LENGTH_BYTES);
        if length_sent != self.data_bytes.to_be_bytes() {
            return Err(SealError::Damaged("its length is not what was sent"));
        }
        if hash_sent != hash {
            return Err(SealError::Damaged("its hash is not what was sent"));
        }
        self.expect(Expected::Nothing);
        Ok(())
    }
}

/// How many of these bytes, the beginning of one message of a [`Sealer`], are no data.
pub(crate) fn added_bytes(beginning: &[u8]) -> u64 {
    let mut decoder = Decoder::new();
    if beginning.first() != MARK.first() {
        decoder.expect(Expected::Head);
    }
    let mut bytes = beginning.to_vec();
    let data = decoder.strip(&mut bytes);
    (bytes.len() - data) as u64
}

#[cfg(test)]
#[path = "seal_tests.rs"]
mod tests;
