//! Records of the kernel's log as they were seen, and logs that are read in parts.

use proptest::prelude::*;

use super::*;

const BOOT: &str = "8d7a0fd5-0f1e-4b1a-8f4c-0a1b2c3d4e5f";
const OTHER: &str = "11111111-0f1e-4b1a-8f4c-0a1b2c3d4e5f";

#[test]
fn records() {
    let record = |priority, facility, sequence, at_us, text: &str| Record {
        priority,
        facility,
        sequence,
        at_us,
        continues: false,
        text: text.to_owned(),
    };
    for (bytes, expected) in [
        (
            &b"6,339,5140900,-;NET: Registered protocol family 10\n"[..],
            Some(record(6, 0, 339, 5_140_900, "NET: Registered protocol family 10")),
        ),
        (
            b"30,340,5690716,-;udevd[80]: starting version 181\n",
            Some(record(6, 3, 340, 5_690_716, "udevd[80]: starting version 181")),
        ),
        (b"4,1,2,c,caller=T1;x\n SUBSYSTEM=pci\n DEVICE=+pci:0000:00:1f.2\n", Some(record(4, 0, 1, 2, "x"))),
        (b"12,1,2,+;more\n", Some(Record { continues: true, ..record(4, 1, 1, 2, "more") })),
        (b"0,18446744073709551615,1,-;a;b,c\n", Some(record(0, 0, u64::MAX, 1, "a;b,c"))),
        (b"6,1,2,-;", Some(record(6, 0, 1, 2, ""))),
        (
            b"6,1,2,-;caf\\xc3\\xa9 \\x5cx41 \\x1b[31m\\x0aline \\xff \\xzz \\x4\n",
            Some(record(6, 0, 1, 2, "café \\x41  [31m line \u{fffd} \\xzz \\x4")),
        ),
        (b"6,1,2;no flags\n", None),
        (b"6,1,-;x\n", None),
        (b"x,1,2,-;x\n", None),
        (b"no head at all\n", None),
        (b"", None),
    ] {
        assert_eq!(Record::parse(bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn cursors() {
    let after = |boot: &str, next| Some(From::After { boot: boot.to_owned(), next });
    for (cursor, expected) in [
        (None, Some(From::Now)),
        (Some("start".to_owned()), Some(From::Start)),
        (Some(format!("{BOOT}:17")), after(BOOT, 17)),
        (Some("b:18446744073709551615".to_owned()), after("b", u64::MAX)),
        (Some(String::new()), None),
        (Some(":1".to_owned()), None),
        (Some(format!("{BOOT}:-1")), None),
        (Some(format!("{BOOT}:")), None),
        (Some(BOOT.to_owned()), None),
        (Some(format!("{}:1", "b".repeat(64))), None),
    ] {
        assert_eq!(From::parse(cursor.as_deref()).ok(), expected, "{cursor:?}");
    }
}

/// A log that holds these numbers, read like the device: one record with each read, and `Overwritten` where one says so.
fn look(numbers: &[Option<u64>], from: &From, most: usize) -> KernelLines {
    let mut records = numbers.iter().map(|number| number.map(|n| format!("6,{n},{},-;line {n}\n", n * 10)));
    let mut buffer = [0; 256];
    let next = |buffer: &mut [u8]| {
        Ok(match records.next() {
            None => Next::End,
            Some(None) => Next::Overwritten,
            Some(Some(record)) => {
                buffer.get_mut(..record.len()).unwrap().copy_from_slice(record.as_bytes());
                Next::Record(record.len())
            }
        })
    };
    collect(BOOT, from, most, 1_000_000, &mut buffer, next).unwrap()
}

#[test]
fn parts_of_a_log() {
    let after = |boot: &str, next| From::After { boot: boot.to_owned(), next };
    let log: Vec<_> = (5..9).map(Some).collect();
    for (from, most, lines, next, lost, more) in [
        (From::Now, 10, vec![], 9, 0, false),
        (From::Start, 10, vec![5, 6, 7, 8], 9, 0, false),
        (From::Start, 4, vec![5, 6, 7, 8], 9, 0, false),
        (From::Start, 3, vec![5, 6, 7], 8, 0, true),
        (From::Start, 0, vec![], 0, 0, true),
        (after(BOOT, 7), 10, vec![7, 8], 9, 0, false),
        (after(BOOT, 7), 1, vec![7], 8, 0, true),
        (after(BOOT, 7), 0, vec![], 7, 0, true),
        (after(BOOT, 9), 10, vec![], 9, 0, false),
        // A cursor from the future of this boot: somebody else wrote it. It is kept, and nothing comes twice.
        (after(BOOT, 50), 10, vec![], 50, 0, false),
        (after(BOOT, 2), 2, vec![5, 6], 7, 3, true),
        (after(OTHER, 7), 10, vec![5, 6, 7, 8], 9, 5, false),
    ] {
        let found = look(&log, &from, most);
        let numbers: Vec<_> = found.lines.iter().map(|line| line.sequence).collect();
        let expected = (lines, format!("{BOOT}:{next}"), lost, more);
        assert_eq!((numbers, found.cursor, found.lost, found.more), expected, "{from:?} {most}");
    }
    let empty = look(&[], &From::Now, 10);
    assert_eq!((empty.lines.len(), empty.cursor), (0, format!("{BOOT}:0")));
    let line = look(&log, &From::Start, 1).lines.remove(0);
    assert_eq!((line.at_ns, line.text.as_str(), line.priority), (1_050_000, "line 5", 6));
}

#[test]
fn lines_that_are_overwritten_while_they_are_read_are_counted() {
    let log = [Some(5), Some(6), None, Some(20), None, None, Some(22)];
    let found = look(&log, &From::After { boot: BOOT.to_owned(), next: 6 }, 10);
    let numbers: Vec<_> = found.lines.iter().map(|line| line.sequence).collect();
    assert_eq!((numbers, found.lost, found.cursor), (vec![6, 20, 22], 14, format!("{BOOT}:23")));
}

#[test]
fn fragments_are_put_together() {
    let mut records = ["4,1,10,c;one\n", "4,2,11,+; two\n", "4,3,12,+; three\n", "6,4,13,-;next\n"].into_iter();
    let mut buffer = [0; 64];
    let next = |buffer: &mut [u8]| {
        Ok(records.next().map_or(Next::End, |record| {
            buffer.get_mut(..record.len()).unwrap().copy_from_slice(record.as_bytes());
            Next::Record(record.len())
        }))
    };
    let found = collect(BOOT, &From::Start, 10, 0, &mut buffer, next).unwrap();
    let lines: Vec<_> = found.lines.iter().map(|line| (line.sequence, line.text.as_str())).collect();
    assert_eq!(lines, [(1, "one two three"), (4, "next")]);
    assert_eq!((found.cursor, found.lost), (format!("{BOOT}:5"), 0));
}

proptest! {
    /// However it is cut into parts, every line that the log still has comes once and in order, and the rest is counted.
    #[test]
    fn read_in_parts(numbers in prop::collection::btree_set(0_u64..60, 0..40), first in 0_u64..60, most in 1_usize..7) {
        let log: Vec<_> = numbers.iter().copied().map(Some).collect();
        let mut from = From::After { boot: BOOT.to_owned(), next: first };
        let (mut lines, mut lost) = (Vec::new(), 0);
        loop {
            let part = look(&log, &from, most);
            prop_assert!(part.lines.len() <= most);
            lines.extend(part.lines.iter().map(|line| line.sequence));
            lost += part.lost;
            from = From::parse(Some(&part.cursor)).unwrap();
            if !part.more {
                break;
            }
        }
        let expected: Vec<_> = numbers.iter().copied().filter(|number| *number >= first).collect();
        let gaps = expected.last().map_or(0, |last| last + 1 - first - expected.len() as u64);
        prop_assert_eq!((lines, lost), (expected, gaps));
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200), head in prop::bool::ANY) {
        let bytes = if head { [b"6,1,2,-;".to_vec(), bytes].concat() } else { bytes };
        if let Some(record) = Record::parse(&bytes) {
            prop_assert!(!record.text.contains(char::is_control));
        }
    }
}
