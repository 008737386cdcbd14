//! Headers as balancers write them, headers nobody should write, and bytes from anyone.

use super::*;
use proptest::prelude::*;

fn v2(version_command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut header = V2_SIGNATURE.to_vec();
    header.extend([version_command, family]);
    header.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    header.extend(body);
    header
}

fn client_of(header: &[u8]) -> Option<SocketAddr> {
    match ProxyHeader::decode(header).unwrap().unwrap() {
        (ProxyHeader::Client(address), bytes) => {
            assert_eq!(bytes, header.len());
            Some(address)
        }
        (ProxyHeader::Unknown, bytes) => {
            assert_eq!(bytes, header.len());
            None
        }
    }
}

#[test]
fn version_1_names_the_client() {
    let check = |line: &str, expected: Option<&str>| {
        let address = expected.map(|text| text.parse().unwrap());
        assert_eq!(client_of(line.as_bytes()), address, "{line:?}");
    };
    check(
        "PROXY TCP4 192.0.2.7 10.0.0.1 51234 5432\r\n",
        Some("192.0.2.7:51234"),
    );
    check(
        "PROXY TCP6 2001:db8::7 2001:db8::1 51234 5432\r\n",
        Some("[2001:db8::7]:51234"),
    );
    check(
        "PROXY TCP6 ::ffff:192.0.2.7 ::1 51234 5432\r\n",
        Some("192.0.2.7:51234"),
    );
    check("PROXY UNKNOWN\r\n", None);
    check("PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", None);
}

#[test]
fn version_2_names_the_client_whatever_follows() {
    let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0xc8, 0x22, 0x15, 0x38];
    let expected = "192.0.2.7:51234".parse().ok();
    assert_eq!(client_of(&v2(0x21, 0x11, &v4)), expected);
    let with_tlv = [&v4[..], &[0x03, 0, 4, 1, 2, 3, 4, 0xee, 0, 0]].concat();
    assert_eq!(client_of(&v2(0x21, 0x11, &with_tlv)), expected);
    let mut v6 = [0_u8; 36];
    v6[..2].copy_from_slice(&[0x20, 0x01]);
    v6[15] = 7;
    v6[32..34].copy_from_slice(&[0xc8, 0x22]);
    assert_eq!(
        client_of(&v2(0x21, 0x21, &v6)),
        "[2001::7]:51234".parse().ok()
    );
    // A health check of the balancer's own, and clients without an IP address.
    assert_eq!(client_of(&v2(0x20, 0x00, &[])), None);
    assert_eq!(client_of(&v2(0x20, 0x11, &v4)), None);
    assert_eq!(client_of(&v2(0x21, 0x00, &[])), None);
    assert_eq!(client_of(&v2(0x21, 0x31, &[b'/'; 216])), None);
}

#[test]
fn what_is_no_header_is_refused_as_soon_as_that_is_certain() {
    let check = |bytes: &[u8]| ProxyHeader::decode(bytes).unwrap_err();
    assert_eq!(check(&[0x16]), ProxyProtocolError::NoHeader);
    assert_eq!(check(&[0, 0, 0, 8]), ProxyProtocolError::NoHeader);
    assert_eq!(check(b"GET /"), ProxyProtocolError::NoHeader);
    check(b"PROXY TCP4 192.0.2.7 10.0.0.1 51234\r\n");
    check(b"PROXY TCP4 192.0.2.7 10.0.0.1 51234 5432 9\r\n");
    check(b"PROXY TCP4 2001:db8::7 10.0.0.1 51234 5432\r\n");
    check(b"PROXY TCP4 192.0.2.7 10.0.0.1 99999 5432\r\n");
    check(b"PROXY TCP5 192.0.2.7 10.0.0.1 51234 5432\r\n");
    check(&[&b"PROXY "[..], &[b' '; 101]].concat());
    check(&v2(0x22, 0x11, &[0; 12]));
    check(&v2(0x11, 0x11, &[0; 12]));
    check(&v2(0x21, 0x11, &[0; 11]));
    check(&v2(0x21, 0x44, &[0; 12]));
    let announced = [&V2_SIGNATURE[..], &[0x21, 0x11, 0xff, 0xff]].concat();
    assert_eq!(
        check(&announced),
        ProxyProtocolError::TooLong { bytes: 65_551 }
    );
}

proptest! {
    #[test]
    fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = ProxyHeader::decode(&bytes);
    }

    #[test]
    fn nothing_behind_a_signature_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = ProxyHeader::decode(&[&V2_SIGNATURE[..], &bytes].concat());
        let _ = ProxyHeader::decode(&[&V1_SIGNATURE[..], &bytes].concat());
    }

    /// However the bytes are cut: a part is never taken for the whole, and what follows is not taken at all.
    #[test]
    fn a_part_is_never_the_whole(
        ip in any::<[u8; 4]>(),
        port in any::<u16>(),
        tlv in prop::collection::vec(any::<u8>(), 0..40),
        behind in prop::collection::vec(any::<u8>(), 0..10),
    ) {
        let address = SocketAddr::new(Ipv4Addr::from(ip).into(), port);
        let body = [&ip[..], &[1; 4], &port.to_be_bytes(), &[2; 2], &tlv].concat();
        let line = format!("PROXY TCP4 {} 1.1.1.1 {port} 2\r\n", Ipv4Addr::from(ip)).into_bytes();
        for header in [v2(0x21, 0x11, &body), line] {
            for end in 0..header.len() {
                prop_assert_eq!(ProxyHeader::decode(&header[..end]), Ok(None));
            }
            let stream = [&header[..], &behind].concat();
            let expected = (ProxyHeader::Client(address), header.len());
            prop_assert_eq!(ProxyHeader::decode(&stream), Ok(Some(expected)));
        }
    }
}
