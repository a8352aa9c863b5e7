//! Echo requests and answers as bytes (RFC 792, RFC 4443).

/// Bytes of a request that nobody can guess, as far as its size has room for them.
pub(super) const TOKEN: usize = 16;
const HEAD: usize = 8;

/// What tells our packets from all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) v6: bool,
    /// None where the kernel picks it, and hands over only what bears it.
    pub(super) id: Option<u16>,
    pub(super) token: [u8; TOKEN],
    /// Of the payload.
    pub(super) size: usize,
}

impl Mark {
    fn request_type(&self) -> u8 {
        if self.v6 { 128 } else { 8 }
    }

    fn reply_type(&self) -> u8 {
        if self.v6 { 129 } else { 0 }
    }

    /// A request. The kernel fills in what it knows better: the identifier of a ping socket, IPv6's checksum.
    pub(super) fn request(&self, sequence: u16) -> Vec<u8> {
        let mut packet = vec![self.request_type(), 0, 0, 0];
        packet.extend(self.id.unwrap_or(0).to_be_bytes());
        packet.extend(sequence.to_be_bytes());
        packet.extend(self.token.iter().copied().chain((0..=u8::MAX).cycle()).take(self.size));
        if !self.v6 {
            let sum = checksum(&packet).to_be_bytes();
            packet.splice(2..4, sum);
        }
        packet
    }

    /// The sequence number of an answer to one of our requests, of which only the beginning may be there.
    pub(super) fn answers(&self, packet: &[u8]) -> Option<u16> {
        let payload = packet.get(HEAD..)?;
        let token = self.token.get(..self.size.min(TOKEN))?;
        (payload.starts_with(token)).then(|| self.sequence(packet, self.reply_type())).flatten()
    }

    /// The sequence number of one of our requests as a router quotes it, perhaps without anything behind its head.
    pub(super) fn quotes(&self, packet: &[u8]) -> Option<u16> {
        let payload = packet.get(HEAD..)?;
        let ours = payload.iter().zip(&self.token).take(self.size).all(|(quoted, own)| quoted == own);
        ours.then(|| self.sequence(packet, self.request_type())).flatten()
    }

    fn sequence(&self, packet: &[u8], expected: u8) -> Option<u16> {
        let [kind, code, _, _, id @ .., first, second] = packet.first_chunk::<HEAD>()?;
        let id = u16::from_be_bytes(*id);
        let ours = *kind == expected && *code == 0 && self.id.is_none_or(|own| own == id);
        ours.then(|| u16::from_be_bytes([*first, *second]))
    }
}

/// A packet behind its IPv4 header, and the hops that it could still have made; raw sockets show both.
pub(super) fn behind_header(packet: &[u8]) -> Option<(&[u8], u8)> {
    let first = *packet.first()?;
    let length = usize::from(first & 0xf) * 4;
    let ttl = *packet.get(8)?;
    (first >> 4 == 4 && length >= 20).then(|| packet.get(length..)).flatten().map(|rest| (rest, ttl))
}

/// Of the internet (RFC 1071): the complement of the sum in ones' complement.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    });
    // 32,758 words of 16 bits cannot overflow 32.
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn mark(v6: bool, id: Option<u16>, size: usize) -> Mark {
        Mark { v6, id, token: *b"0123456789abcdef", size }
    }

    #[test]
    fn requests_and_their_answers() {
        for (v6, id, size) in [(false, Some(7), 56), (true, Some(7), 0), (false, None, 5), (true, None, 65_507)] {
            let own = mark(v6, id, size);
            let request = own.request(0x1234);
            assert_eq!(request.len(), 8 + size);
            assert_eq!(request[6..8], [0x12, 0x34]);
            let mut answer = request.clone();
            answer[0] = if v6 { 129 } else { 0 };
            assert_eq!(own.answers(&answer), Some(0x1234));
            assert_eq!(own.answers(&request), None, "a request is no answer");
            assert_eq!((own.quotes(&request), own.quotes(&answer)), (Some(0x1234), None));
            assert_eq!(own.quotes(&request[..8]), Some(0x1234), "a router need not quote more");
            assert_eq!((own.quotes(&request[..7]), own.answers(&answer[..7])), (None, None));
            let other = Mark { token: [0; TOKEN], ..own.clone() };
            assert_eq!(other.answers(&answer).is_some(), size == 0, "{size}");
            assert_eq!(other.quotes(&request).is_some(), size == 0);
            if id.is_some() {
                let other = Mark { id: Some(8), ..own };
                assert_eq!((other.answers(&answer), other.quotes(&request)), (None, None));
            }
        }
        let own = mark(false, None, 56);
        let mut answer = own.request(1);
        answer[0] = 0;
        assert_eq!(own.answers(&answer[..8 + TOKEN]), Some(1), "the rest need not be looked at");
        assert_eq!(own.answers(&answer[..7 + TOKEN]), None);
    }

    #[test]
    fn headers() {
        let packet = [&[0x46, 0, 0, 0, 0, 0, 0, 0, 61][..], &[0; 15], b"rest"].concat();
        assert_eq!(behind_header(&packet), Some((&b"rest"[..], 61)));
        for bad in [&[][..], &[0x45; 8], &[0x44; 40], &[0x65; 40], &[0x4f; 40]] {
            assert_eq!(behind_header(bad), None);
        }
    }

    proptest! {
        #[test]
        fn checksums_cancel_themselves(bytes in vec(any::<u8>(), 1..200)) {
            // The obvious way: as the remainder of the number by 65,535.
            let mut padded = bytes.clone();
            padded.resize(bytes.len().next_multiple_of(2), 0);
            let number = padded.chunks(2).fold(0_u64, |sum, pair| (sum * 65_536 + u64::from(pair[0]) * 256 + u64::from(pair[1])) % 65_535);
            prop_assert_eq!(u64::from(!checksum(&bytes)) % 65_535, number);
        }

        #[test]
        fn any_packet_is_read(bytes in vec(any::<u8>(), 0..80), v6 in any::<bool>()) {
            let own = mark(v6, Some(7), 56);
            prop_assert_eq!(own.answers(&bytes), None, "the token is not guessed");
            let ours = bytes.first() == Some(&own.request_type());
            prop_assert!(ours || own.quotes(&bytes).is_none());
            prop_assert!(behind_header(&bytes).is_none_or(|(rest, _)| rest.len() + 20 <= bytes.len()));
        }
    }
}
