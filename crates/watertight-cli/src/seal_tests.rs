//! A sealed stream, whole and spoilt in every way: nothing but the whole one is ever taken for whole.

use super::*;

const ABC_HASH: [u8; 32] = [
    0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
    0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad,
];

fn hash(data: &[u8]) -> [u8; 32] {
    Sha256::digest(data).into()
}

/// These chunks, sealed.
fn sealed(chunks: &[&[u8]]) -> Vec<u8> {
    let mut sealer = Sealer::default();
    let mut stream = Vec::new();
    for chunk in chunks {
        stream.extend(sealer.data(chunk).unwrap());
    }
    stream.extend(sealer.last(Some(hash(&chunks.concat()))).unwrap());
    stream
}

/// What a decoder makes of a stream that comes in these pieces.
fn opened(pieces: &[&[u8]]) -> (Vec<u8>, Result<(), SealError>) {
    let (mut decoder, mut data) = (Decoder::new(), Vec::new());
    for piece in pieces {
        let mut piece = piece.to_vec();
        let kept = decoder.strip(&mut piece);
        data.extend_from_slice(&piece[..kept]);
    }
    (data, decoder.finish())
}

fn small() -> Vec<u8> {
    sealed(&[b"a", b"bcd", b"efghij"])
}

#[test]
fn the_format_is_as_documented() {
    let mut expected = b"\x89WTSEAL\x01D\0\0\0\x03abcE\0\0\0\x28\0\0\0\0\0\0\0\x03".to_vec();
    expected.extend_from_slice(&ABC_HASH);
    assert_eq!(sealed(&[b"abc"]), expected);
    let mut cut = Sealer::default();
    assert_eq!(cut.last(None).unwrap(), b"\x89WTSEAL\x01C\0\0\0\0");
}

#[test]
fn a_whole_stream_comes_out_at_every_split() {
    let stream = small();
    for at in 0..=stream.len() {
        let (one, other) = stream.split_at(at);
        assert_eq!(opened(&[one, other]), (b"abcdefghij".to_vec(), Ok(())));
    }
    let bytes: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(opened(&bytes), (b"abcdefghij".to_vec(), Ok(())));
    assert_eq!(opened(&[&sealed(&[])]), (Vec::new(), Ok(())));
}

#[test]
fn a_stream_that_is_cut_anywhere_is_not_whole() {
    let stream = small();
    for len in 0..stream.len() {
        let (data, outcome) = opened(&[&stream[..len]]);
        assert!(b"abcdefghij".starts_with(&data[..]));
        let came = data.len() as u64;
        assert_eq!(outcome, Err(SealError::Unfinished(came)), "at {len}");
    }
}

#[test]
fn a_stream_with_one_bit_changed_anywhere_is_not_whole() {
    let stream = small();
    for at in 0..stream.len() {
        for bit in 0..8 {
            let mut stream = stream.clone();
            stream[at] ^= 1 << bit;
            assert!(opened(&[&stream]).1.is_err(), "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn a_stream_that_lacks_or_repeats_a_frame_is_not_whole() {
    let (one, two) = (&b"one"[..], &b"two"[..]);
    let mut frames = Sealer::default();
    let (first, second) = (frames.data(one).unwrap(), frames.data(two).unwrap());
    let last = frames.last(Some(hash(b"onetwo"))).unwrap();
    assert_eq!(opened(&[&first, &second, &last]).1, Ok(()));
    assert!(opened(&[&first, &last]).1.is_err());
    assert!(opened(&[&first, &second, &second, &last]).1.is_err());
    // The same length, and only the hash can tell.
    let mut swapped = Sealer::default();
    let (first, second) = (swapped.data(two).unwrap(), swapped.data(one).unwrap());
    assert_eq!(
        opened(&[&first, &second, &last]).1,
        Err(SealError::Damaged("its hash is not what was sent"))
    );
}

#[test]
fn nothing_may_follow_the_end() {
    let stream = small();
    for more in [&b"\0"[..], &b"E"[..], &stream[..]] {
        let (data, outcome) = opened(&[&stream, more]);
        assert_eq!(data, b"abcdefghij");
        assert_eq!(outcome, Err(SealError::Followed));
    }
}

#[test]
fn what_was_never_sealed_is_told_at_the_first_bytes() {
    let mut decoder = Decoder::new();
    assert_eq!(decoder.strip(&mut b"x".to_vec()), 0);
    assert_eq!(decoder.failure(), Some(SealError::Unsealed));
    let mut almost = small();
    almost[6] = b'X';
    assert_eq!(opened(&[&almost[..7]]).1, Err(SealError::Unsealed));
    let mut newer = small();
    newer[7] = 2;
    assert_eq!(opened(&[&newer]).1, Err(SealError::Version(2)));
}

#[test]
fn the_senders_word_that_the_stream_is_cut_is_passed_on() {
    let mut sealer = Sealer::default();
    let data = sealer.data(b"abc").unwrap();
    let last = sealer.last(None).unwrap();
    assert_eq!(
        opened(&[&data, &last]),
        (b"abc".to_vec(), Err(SealError::Cut(3)))
    );
}

#[test]
fn a_frame_of_a_wrong_length_is_refused_at_its_head() {
    let wrong = SealError::Damaged("a frame has a wrong length");
    for head in [
        b"D\0\0\0\0",
        b"D\0\x01\0\x01",
        b"D\xff\xff\xff\xff",
        b"E\0\0\0\x27",
        b"C\0\0\0\x01",
    ] {
        assert_eq!(opened(&[b"\x89WTSEAL\x01", head]).1, Err(wrong), "{head:?}");
    }
    let unknown = SealError::Damaged("a frame is of no known kind");
    assert_eq!(opened(&[b"\x89WTSEAL\x01X\0\0\0\0"]).1, Err(unknown));
}

#[test]
fn a_large_chunk_goes_in_frames_of_64_kib_and_stays_within_its_bound() {
    for len in [1, 65_535, 65_536, 65_537, 131_072] {
        let chunk = vec![7; len];
        let mut sealer = Sealer::default();
        let message = sealer.data(&chunk).unwrap();
        let added = added_bytes(&message);
        assert_eq!(message.len() as u64, len as u64 + added);
        assert!(added <= ADDED_BYTES_MAX);
        let last = sealer.last(Some(hash(&chunk))).unwrap();
        assert_eq!(opened(&[&message, &last]), (chunk, Ok(())));
    }
    let alone = Sealer::default().last(Some(ABC_HASH)).unwrap();
    assert!(alone.len() as u64 <= ADDED_BYTES_MAX);
}

#[test]
fn nothing_is_sent_after_the_last_frame() {
    let mut sealer = Sealer::default();
    assert!(sealer.last(Some(hash(b""))).is_some());
    assert!(sealer.data(b"late").is_none());
    assert!(sealer.last(None).is_none());
}

#[test]
fn what_is_no_data_is_counted_in_every_beginning_of_a_message() {
    let mut sealer = Sealer::default();
    for message in [sealer.data(b"abcd").unwrap(), sealer.data(b"ef").unwrap()] {
        let data = if message.len() > 10 { 4 } else { 2 };
        let before = message.len() - data;
        for len in 0..=message.len() {
            let expected = len.min(before) as u64;
            assert_eq!(added_bytes(&message[..len]), expected, "{len}");
        }
    }
    let last = sealer.last(Some(hash(b"abcdef"))).unwrap();
    assert_eq!(added_bytes(&last), last.len() as u64);
}

/// Behind a true beginning, so that the noise reaches the frames.
#[test]
fn noise_is_never_whole() {
    let mut state = 1_u64;
    for _ in 0..2000 {
        let mut stream = b"\x89WTSEAL\x01".to_vec();
        for _ in 0..60 {
            state = state.wrapping_mul(6_364_136_223_846_793_005);
            state = state.wrapping_add(1_442_695_040_888_963_407);
            let noise = state.to_be_bytes()[0];
            let kind = b"CDE\0".get(usize::from(noise % 8));
            stream.push(kind.copied().unwrap_or(noise));
        }
        assert!(opened(&[&stream]).1.is_err());
    }
}
