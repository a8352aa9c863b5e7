//! BIND, asked about everything that its zones hold.

use std::time::Duration;

use roundsman_probe::failure::code;
use roundsman_probe::probe::Roots;
use tokio::time::Instant;

use crate::named::{Named, ZONE};
use crate::support::{LONG, grants, probe_with};
use crate::{answer, ask, failure, lines};

#[tokio::test]
async fn every_record_as_the_zone_has_it() {
    let Some(named) = Named::start() else { return };
    let mut asked = 0;
    for line in ZONE.lines().filter(|line| !line.is_empty()) {
        let mut words = line.split(' ');
        let (name, kind) = (words.next().unwrap(), words.nth(1).unwrap());
        if name == "child.shop.test." {
            continue;
        }
        let exchange = ask(named.plain, name, kind, |_| ()).await;
        assert_eq!(exchange.fact("transport"), Some("udp"), "{line}");
        let found = answer(exchange);
        assert_eq!(lines(&found.answer), [line]);
        assert!(found.rcode == "NOERROR" && found.flag("aa") && found.flag("rd") && !found.flag("ra"), "{found:?}");
        asked += 1;
    }
    assert!(asked > 15, "{asked}");

    // A name of this server's is followed, and what belongs to the answer comes along.
    let found = answer(ask(named.plain, "www.shop.test", "aaaa", |_| ()).await);
    let expected = ["www.shop.test. 309 CNAME mx.shop.test.", "mx.shop.test. 308 AAAA 2001:db8::25"];
    assert_eq!(lines(found.records("answer")), expected);
    let found = answer(ask(named.plain, "SHOP.test.", "MX", |_| ()).await);
    assert_eq!(lines(found.records("authority")), ["shop.test. 300 NS ns.shop.test."]);
    let mut additional = lines(found.records("additional"));
    additional.retain(|line| !line.contains("TLSA"));
    additional.sort_unstable();
    assert_eq!(additional, ["mx.shop.test. 308 AAAA 2001:db8::25", "ns.shop.test. 307 A 127.0.0.1"]);
    // Beneath a delegation: no answer, but who would have one.
    let found = answer(ask(named.plain, "a.child.shop.test", "A", |query| query.set_recursion(false)).await);
    assert_eq!(lines(&found.authority), ["child.shop.test. 315 NS ns.elsewhere.test."]);
    assert!(found.answer.is_empty() && !found.flag("aa") && !found.flag("rd"));
    let found = answer(ask(named.plain, "192.0.2.7", "PTR", |_| ()).await);
    assert_eq!(lines(&found.answer), ["7.2.0.192.in-addr.arpa. 60 PTR shop.test."]);
}

#[tokio::test]
async fn answers_that_say_no() {
    let Some(named) = Named::start() else { return };
    let soa = "shop.test. 60 SOA ns.shop.test. admin\\.team.shop.test. 2026010101 3600 600 86400 60";
    for (name, kind, rcode, authority, extended_error) in [
        ("nobody.shop.test", "A", "NXDOMAIN", Some(soa), None),
        ("ns.shop.test", "AAAA", "NOERROR", Some(soa), None),
        ("broken.test", "A", "SERVFAIL", None, None),
        ("elsewhere.test", "A", "REFUSED", None, None),
        ("closed.test", "A", "REFUSED", None, Some("18")),
    ] {
        let exchange = ask(named.plain, name, kind, |_| ()).await;
        let error = exchange.fact("extended-error").map(str::to_owned);
        assert_eq!(exchange.fact("attempts"), Some("1"));
        let found = answer(exchange);
        assert_eq!((found.rcode.as_str(), found.answer.len()), (rcode, 0), "{name}");
        assert_eq!(lines(&found.authority), authority.into_iter().collect::<Vec<_>>(), "{name}");
        if extended_error.is_some() {
            assert_eq!(error.as_deref(), extended_error, "{name}");
        }
    }
}

#[tokio::test]
async fn what_does_not_fit_comes_by_tcp() {
    let Some(named) = Named::start() else { return };
    let exchange = ask(named.plain, "long.more.test", "TXT", |_| ()).await;
    assert_eq!((exchange.fact("transport"), exchange.fact("attempts")), (Some("tcp"), Some("1")));
    let phases: Vec<_> = exchange.phases().map(|(phase, _)| phase).collect();
    assert_eq!(phases, ["first-byte", "connect", "transfer"]);
    assert!(exchange.timing("total").unwrap() >= exchange.timing("connect").unwrap());
    assert_eq!((exchange.timing("tls"), exchange.timing("resolve")), (None, None));
    let found = answer(exchange);
    assert!(found.answer.len() == 40 && !found.flag("tc") && found.bytes > 4000, "{}", found.bytes);

    let exchange = ask(named.plain, "long.more.test", "TXT", |query| query.set_transport("udp-only")).await;
    assert_eq!(exchange.fact("transport"), Some("udp"));
    let found = answer(exchange);
    assert!(found.flag("tc") && found.bytes <= 1232, "{}", found.bytes);

    let exchange = ask(named.plain, "shop.test", "TXT", |query| query.set_transport("tcp")).await;
    assert_eq!((exchange.fact("transport"), exchange.peer), (Some("tcp"), Some(named.plain)));
    assert_eq!(answer(exchange).answer.len(), 1);
}

#[tokio::test]
async fn over_tls() {
    let Some(named) = Named::start() else { return };
    let tls = |name: &'static str, verify: bool, roots: Roots| {
        let mut query = roundsman_probe::dns::Query::new("shop.test", "MX");
        query.set_server(&format!("dns.shop.test:{}", named.tls.port()));
        query.set_transport("tls");
        query.set_server_name(name);
        query.set_verify_certificate(verify);
        let grants = grants(&[&format!("dns://dns.shop.test:{}", named.tls.port())]);
        async move { probe_with("127.0.0.1 dns.shop.test", roots).dns(&grants, &query, Instant::now() + LONG).await }
    };
    let own = || Roots::Only(vec![named.certificate.clone()]);
    let exchange = tls("dns.shop.test", true, own()).await;
    assert_eq!((exchange.fact("transport"), exchange.fact("tls-version")), (Some("tls"), Some("1.3")));
    assert!(exchange.fact("tls-cipher").is_some() && exchange.fact("certificate-error").is_none());
    assert_eq!(exchange.certificates[0].names(), ["dns.shop.test"]);
    let phases: Vec<_> = exchange.phases().map(|(phase, _)| phase).collect();
    assert_eq!(phases, ["resolve", "connect", "tls", "first-byte", "transfer"]);
    assert_eq!(lines(&answer(exchange).answer), ["shop.test. 301 MX 10 mx.shop.test."]);

    let exchange = tls("other.test", true, own()).await;
    assert!(exchange.certificates.len() == 1 && exchange.fact("certificate-error").is_some());
    let refused = failure(exchange);
    assert_eq!((refused.code, refused.phase), (code::CERTIFICATE, "tls"), "{refused}");
    let exchange = tls("other.test", false, Roots::Only(Vec::new())).await;
    assert!(exchange.fact("certificate-error").is_some());
    assert_eq!(answer(exchange).rcode, "NOERROR");
    // A server that speaks no TLS there.
    let plain = ask(named.plain, "shop.test", "A", |query| {
        query.set_transport("tls");
        query.set_timeout(Duration::from_millis(500));
    });
    assert_eq!(failure(plain.await).phase, "tls");
}

#[tokio::test]
async fn signatures_where_they_are_wanted() {
    let Some(named) = Named::start() else { return };
    // It signs by and by, once it is up.
    let end = Instant::now() + LONG;
    let signed = loop {
        let found = answer(ask(named.plain, "ns.signed.test", "A", |query| query.set_dnssec(true)).await);
        if found.answer.len() == 2 {
            break found;
        }
        assert!(Instant::now() < end, "{found:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let words: Vec<_> = signed.answer[1].text.split(' ').collect();
    assert_eq!((signed.answer[1].kind.as_str(), &words[..4]), ("RRSIG", &["A", "13", "3", "60"][..]));
    assert_eq!((words[7], words[4].len(), words[5].len()), ("signed.test.", 14, 14));
    assert!(words[4] > words[5] && words[5].starts_with("20"), "{words:?}");
    let plain = answer(ask(named.plain, "ns.signed.test", "A", |_| ()).await);
    assert_eq!(plain.answer.len(), 1);
    let found = answer(ask(named.plain, "no.signed.test", "A", |query| query.set_dnssec(true)).await);
    let nsec: Vec<_> = found.authority.iter().filter(|e| e.kind == "NSEC").map(|e| e.text.as_str()).collect();
    assert!(nsec.iter().any(|text| text.contains("A RRSIG NSEC")), "{nsec:?}");
    let keys = answer(ask(named.plain, "signed.test", "DNSKEY", |_| ()).await);
    assert!(keys.answer[0].text.starts_with("257 3 13 "), "{keys:?}");
    let checked = answer(
        ask(named.plain, "ns.signed.test", "A", |query| query.set_option("checking-disabled", "true").unwrap()).await,
    );
    assert!(checked.flag("cd"));
}
