//! What holds for anything that comes as an answer of a gRPC server.

use super::{answer, question, unescape};

/// Tells whether it was taken for an answer.
pub(crate) fn any_frame(frame: &[u8]) -> bool {
    let read = answer(frame);
    if read.is_some() {
        // Where the frame ends stands in it: what comes behind makes no difference, what is missing does.
        assert_eq!(answer(&[frame, b"\xff\xff\xff"].concat()), read);
        let length = frame.first_chunk().map_or(0, |[_, length @ ..]: &[u8; 5]| u32::from_be_bytes(*length));
        let end = 5 + usize::try_from(length).expect("it is in memory");
        assert_eq!((answer(&frame[..end]), answer(&frame[..end - 1])), (read, None));
    }
    read.is_some()
}

/// A message and a name, as servers and operators write them.
pub(crate) fn any_words(text: &str) {
    assert_eq!(unescape(text), slowly(text));
    let frame = question(text);
    let length = u32::from_be_bytes([frame[1], frame[2], frame[3], frame[4]]);
    assert_eq!((frame[0], usize::try_from(length).ok()), (0, Some(frame.len() - 5)));
    assert!(frame.ends_with(text.as_bytes()));
}

/// Piece by piece between the signs.
fn slowly(text: &str) -> String {
    let mut pieces = text.split('%');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let digit = |at: usize| char::from(*piece.as_bytes().get(at).unwrap_or(&b'x')).to_digit(16);
        match digit(0).zip(digit(1)) {
            Some((high, low)) => {
                bytes.push(u8::try_from(high * 16 + low).expect("two digits"));
                bytes.extend(&piece.as_bytes()[2..]);
            }
            None => bytes.extend([b"%", piece.as_bytes()].concat()),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn of_the_corpus() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/message");
        let (mut taken, mut refused) = (0, 0);
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            // Shown only if something does not hold.
            eprintln!("{}", path.display());
            let bytes = std::fs::read(path).unwrap();
            *(if any_frame(&bytes) { &mut taken } else { &mut refused }) += 1;
            // And cut short anywhere.
            for end in 0..bytes.len().min(600) {
                let bytes = &bytes[..end];
                any_frame(bytes);
            }
        }
        assert!(taken > 0 && refused > 0, "{taken} taken, {refused} refused");
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..60), message in prop::collection::vec(prop_oneof![3 => 0_u8..24, 1 => any::<u8>()], 0..24)) {
            any_frame(&bytes);
            any_frame(&[&[0, 0, 0, 0, u8::try_from(message.len()).unwrap()], message.as_slice()].concat());
        }

        #[test]
        fn any_text(text in "\\PC{0,40}", escapes in "[%0-9a-gA-G+ é-]{0,20}") {
            any_words(&text);
            any_words(&escapes);
        }
    }
}
