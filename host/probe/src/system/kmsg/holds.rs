//! What holds for any records that the kernel's log gives, however they are cut into answers.

use super::{From, MAX_CURSOR, MAX_LINES, Next, Record, collect};

const BOOT: &str = "8d7a0fd5-0f1e-4b1a-8f4c-0a1b2c3d4e5f";

/// The first line is a cursor; behind it, records with an empty line between two.
pub fn any_kernel_log(bytes: &[u8]) -> bool {
    let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
    let cursor = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let records: Vec<&[u8]> = split(parts.next().unwrap_or_default());
    let from = From::parse(Some(&cursor).filter(|cursor| !cursor.is_empty()).map(AsRef::as_ref));
    let mut from = from.unwrap_or(From::Start);
    for record in &records {
        assert!(Record::parse(record).is_none_or(|record| !record.text.contains(char::is_control)));
    }
    // In parts and at once, the same lines come.
    let (mut lines, whole) = (Vec::new(), look(&records, &from, MAX_LINES));
    for _ in 0..=records.len() {
        let part = look(&records, &from, 1);
        lines.extend(part.lines.iter().map(|line| line.sequence));
        assert!(part.cursor.len() <= MAX_CURSOR, "{}", part.cursor);
        from = From::parse(Some(&part.cursor)).expect("a cursor of our own");
        if !part.more {
            break;
        }
    }
    // Only what the kernel itself would write comes in order and once.
    let ordered =
        records.iter().filter_map(|bytes| Record::parse(bytes)).map(|record| (record.sequence, record.continues));
    let ordered: Vec<_> = ordered.collect();
    if ordered.is_sorted_by(|a, b| a.0 < b.0)
        && !ordered.iter().any(|(number, continues)| *continues || *number == u64::MAX)
    {
        assert!(whole.lines.iter().map(|line| line.sequence).eq(lines));
    }
    !ordered.is_empty()
}

fn look(records: &[&[u8]], from: &From, most: usize) -> super::KernelLines {
    let mut records = records.iter();
    let mut buffer = vec![0; records.as_slice().iter().map(|record| record.len()).max().unwrap_or(0)];
    let next = |buffer: &mut [u8]| {
        let Some(record) = records.next() else { return Ok(Next::End) };
        buffer.iter_mut().zip(*record).for_each(|(to, from)| *to = *from);
        Ok(Next::Record(record.len()))
    };
    collect(BOOT, from, most, 1_000_000, &mut buffer, next).expect("nothing fails here")
}

fn split(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.windows(2).position(|pair| pair == b"\n\n").map_or(bytes.len(), |at| at + 1);
        let (record, rest) = bytes.split_at(end);
        records.push(record);
        bytes = rest.strip_prefix(b"\n").unwrap_or(rest);
    }
    records
}
