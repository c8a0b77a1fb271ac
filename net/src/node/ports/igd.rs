//! What is said to a router: SSDP to find it, its description, and SOAP to have it forward ports (UPnP Forum,
//! "InternetGatewayDevice:1" and ":2"). Pure: texts in, texts out.
//!
//! Whoever is on the network may answer in the router's place, so that an answer is believed only about the machine
//! that sent it: nothing makes us talk to another one. Routers write their XML in many ways; what is needed of it is
//! searched for, and nothing else is read.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

/// Where routers listen for questions.
pub(super) const MULTICAST: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 255, 255, 250), 1900);

/// The services that forward ports, best first.
const SERVICES: [&str; 3] = [
    "urn:schemas-upnp-org:service:WANIPConnection:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
];

/// What routers are asked as: older ones answer to the first, newer ones to both.
const DEVICES: [&str; 2] =
    ["urn:schemas-upnp-org:device:InternetGatewayDevice:1", "urn:schemas-upnp-org:device:InternetGatewayDevice:2"];

/// The longest path of a description or a service.
const MAX_PATH_BYTES: usize = 512;

/// The question for routers: one datagram for each kind.
pub(super) fn searches() -> [String; 2] {
    DEVICES.map(|device| {
        format!("M-SEARCH * HTTP/1.1\r\nHOST: {MULTICAST}\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: {device}\r\n\r\n")
    })
}

/// A document or a service of a router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) at: SocketAddrV4,
    /// With its leading slash.
    pub(super) path: String,
}

/// Where the description is of the router that has sent this.
pub(super) fn description_of(answer: &[u8], from: SocketAddr) -> Option<Place> {
    let IpAddr::V4(from) = from.ip() else { return None };
    let text = std::str::from_utf8(answer).ok()?;
    let mut lines = text.lines();
    let status = lines.next()?;
    if !(status.starts_with("HTTP/1.") && status.contains(" 200")) {
        return None;
    }
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("location").then(|| value.trim().to_owned())
    };
    place(&lines.find_map(header)?, &Place { at: SocketAddrV4::new(from, 80), path: "/".into() })
}

/// What a reference stands for, seen from a document; `None` if that is on another machine.
fn place(reference: &str, from: &Place) -> Option<Place> {
    let (at, path) = match reference.strip_prefix("http://") {
        Some(rest) => {
            let (host, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
            let at = match host.split_once(':') {
                Some((ip, port)) => SocketAddrV4::new(ip.parse().ok()?, port.parse().ok()?),
                None => SocketAddrV4::new(host.parse().ok()?, 80),
            };
            (at, path.to_owned())
        }
        None if reference.is_empty() || reference.contains("://") => return None,
        None if reference.starts_with('/') => (from.at, reference.to_owned()),
        None => (from.at, format!("{}/{reference}", from.path.rsplit_once('/').map_or("", |(folder, _)| folder))),
    };
    let is_plain = path.len() <= MAX_PATH_BYTES && path.bytes().all(|byte| byte.is_ascii_graphic());
    (at.ip() == from.at.ip() && at.port() != 0 && is_plain).then_some(Place { at, path })
}

/// The service of a router that forwards ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) control: Place,
    kind: &'static str,
}

/// The best service that a description tells of.
pub(super) fn service(description: &str, from: &Place) -> Option<Service> {
    let base = match element(description, "URLBase") {
        Some(base) if !base.is_empty() => place(&unescape(base), from)?,
        Some(_) | None => from.clone(),
    };
    let services: Vec<(&str, &str)> = description
        .split("<service>")
        .skip(1)
        .filter_map(|service| Some((element(service, "serviceType")?, element(service, "controlURL")?)))
        .collect();
    SERVICES.iter().find_map(|kind| {
        let (_, control) = services.iter().find(|(told, _)| told == kind)?;
        Some(Service { control: place(&unescape(control), &base)?, kind })
    })
}

/// Which packets a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

/// What a router is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Say which address it has outside.
    ExternalAddress,
    /// Forward a port to the same port here. Zero seconds: for ever.
    Add { protocol: Protocol, port: u16, to: Ipv4Addr, lease_s: u32 },
    /// Forward it no longer.
    Delete { protocol: Protocol, port: u16 },
}

impl Action {
    const fn name(self) -> &'static str {
        match self {
            Self::ExternalAddress => "GetExternalIPAddress",
            Self::Add { .. } => "AddPortMapping",
            Self::Delete { .. } => "DeletePortMapping",
        }
    }

    fn arguments(self) -> String {
        let port = |protocol: Protocol, port: u16| {
            format!(
                "<NewRemoteHost></NewRemoteHost><NewExternalPort>{port}</NewExternalPort>\
                 <NewProtocol>{}</NewProtocol>",
                protocol.name()
            )
        };
        match self {
            Self::ExternalAddress => String::new(),
            Self::Add { protocol, port: number, to, lease_s } => format!(
                "{}<NewInternalPort>{number}</NewInternalPort><NewInternalClient>{to}</NewInternalClient>\
                 <NewEnabled>1</NewEnabled><NewPortMappingDescription>parlor-node</NewPortMappingDescription>\
                 <NewLeaseDuration>{lease_s}</NewLeaseDuration>",
                port(protocol, number)
            ),
            Self::Delete { protocol, port: number } => port(protocol, number),
        }
    }

    /// The `SOAPAction` header and the body of the request.
    pub(super) fn request(self, service: &Service) -> (String, String) {
        let (name, kind) = (self.name(), service.kind);
        let body = format!(
            "<?xml version=\"1.0\"?>\r\n\
             <s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body>\
             <u:{name} xmlns:u=\"{kind}\">{}</u:{name}></s:Body></s:Envelope>\r\n",
            self.arguments()
        );
        (format!("\"{kind}#{name}\""), body)
    }

    /// Whether a router that has answered so has done it.
    pub(super) fn outcome(self, answer: &str) -> Result<(), Refused> {
        if let Some(code) = element(answer, "errorCode") {
            return Err(Refused::Code(code.trim().parse().unwrap_or_default()));
        }
        if answer.contains(&format!("{}Response", self.name())) { Ok(()) } else { Err(Refused::Garbage) }
    }
}

/// Why a router has not done something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It says so.
    Code(u16),
    /// What it says makes no sense.
    Garbage,
}

/// The port is forwarded to another machine already.
pub(super) const CONFLICT: u16 = 718;

/// The router forwards for ever or not at all.
pub(super) const ONLY_PERMANENT: u16 = 725;

/// The address of the router's outside.
pub(super) fn external_address(answer: &str) -> Option<Ipv4Addr> {
    let ip: Ipv4Addr = element(answer, "NewExternalIPAddress")?.parse().ok()?;
    (!ip.is_unspecified()).then_some(ip)
}

/// The text of the first element of that name, which has no elements in it.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = text;
    loop {
        rest = &rest[rest.find(name)? + name.len()..];
        // Not the name in a text, nor the end of another element.
        let opens = text[..text.len() - rest.len() - name.len()].ends_with(['<', ':']);
        let (attributes, after) = rest.split_once('>')?;
        if opens && (attributes.is_empty() || attributes.starts_with(char::is_whitespace)) && !attributes.ends_with('/')
        {
            return after.split_once('<').map(|(value, _)| value.trim());
        }
    }
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 168, 1, 1)), 1900);

    fn at(port: u16, path: &str) -> Place {
        Place { at: SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 1), port), path: path.into() }
    }

    fn answer(location: &str) -> Vec<u8> {
        format!("HTTP/1.1 200 OK\r\nST: upnp:rootdevice\r\nLocation: {location}\r\n\r\n").into_bytes()
    }

    #[test]
    fn a_router_is_believed_about_itself_alone() {
        let found = |location: &str| description_of(&answer(location), ROUTER);
        assert_eq!(found("http://192.168.1.1:5000/rootDesc.xml"), Some(at(5000, "/rootDesc.xml")));
        assert_eq!(found("http://192.168.1.1"), Some(at(80, "/")));
        let long = format!("http://192.168.1.1/{}", "x".repeat(MAX_PATH_BYTES));
        for other in [
            "http://192.168.1.7:5000/rootDesc.xml",
            "http://127.0.0.1:9464/metrics",
            "http://router/desc.xml",
            "https://192.168.1.1/desc.xml",
            "http://192.168.1.1:0/desc.xml",
            "http://192.168.1.1:99999/desc.xml",
            "http://192.168.1.1@127.0.0.1/desc.xml",
            "http://192.168.1.1/a b",
            "",
            long.as_str(),
        ] {
            assert_eq!(found(other), None, "{other}");
        }
        for garbage in [&b"NOTIFY * HTTP/1.1\r\nLOCATION: http://192.168.1.1/\r\n\r\n"[..], b"\xff\xfe", b""] {
            assert_eq!(description_of(garbage, ROUTER), None);
        }
    }

    fn description(services: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?><root><URLBase></URLBase><device><serviceList>{services}</serviceList></device></root>"
        )
    }

    fn described(kind: &str, control: &str) -> String {
        format!(
            "<service>\n<serviceType>urn:schemas-upnp-org:service:{kind}</serviceType>\n\
             <serviceId>urn:upnp-org:serviceId:x</serviceId>\n<controlURL> {control} </controlURL>\n</service>"
        )
    }

    #[test]
    fn the_best_service_that_forwards_ports_is_taken() {
        let from = at(5000, "/upnp/root.xml");
        let found = |services: &str| service(&description(services), &from);
        let common = described("WANCommonInterfaceConfig:1", "/common");
        let one = described("WANIPConnection:1", "ctl/IPConn?a=1&amp;b=2");
        let two = described("WANIPConnection:2", "http://192.168.1.1:5001/two");
        let ppp = described("WANPPPConnection:1", "/ppp");
        let kind = |n: usize| SERVICES[n];
        assert_eq!(found(&format!("{common}{ppp}")), Some(Service { control: at(5000, "/ppp"), kind: kind(2) }));
        let relative = at(5000, "/upnp/ctl/IPConn?a=1&b=2");
        assert_eq!(found(&format!("{ppp}{common}{one}")), Some(Service { control: relative, kind: kind(1) }));
        assert_eq!(found(&format!("{one}{two}")), Some(Service { control: at(5001, "/two"), kind: kind(0) }));
        assert_eq!(found(&common), None);
        assert_eq!(found(&described("WANIPConnection:1", "http://192.168.1.9/ctl")), None, "another machine");
        for garbage in ["", "<service>", "<service><serviceType>", "<service><serviceType></serviceType><controlURL>"] {
            assert_eq!(found(garbage), None);
        }
        let based = "<URLBase>http://192.168.1.1:49000/igd/</URLBase>";
        let text = described("WANIPConnection:1", "control");
        assert_eq!(service(&format!("{based}{text}"), &from).unwrap().control, at(49000, "/igd/control"));
    }

    fn any_service() -> Service {
        Service { control: at(5000, "/ctl"), kind: SERVICES[1] }
    }

    #[test]
    fn a_request_says_all_that_a_router_wants_to_know() {
        let add = Action::Add { protocol: Protocol::Udp, port: 3478, to: Ipv4Addr::new(192, 168, 1, 7), lease_s: 3600 };
        let (header, body) = add.request(&any_service());
        assert_eq!(header, "\"urn:schemas-upnp-org:service:WANIPConnection:1#AddPortMapping\"");
        for (name, value) in [
            ("NewExternalPort", "3478"),
            ("NewInternalPort", "3478"),
            ("NewProtocol", "UDP"),
            ("NewInternalClient", "192.168.1.7"),
            ("NewEnabled", "1"),
            ("NewLeaseDuration", "3600"),
        ] {
            assert_eq!(element(&body, name), Some(value), "{body}");
        }
        let (_, body) = Action::Delete { protocol: Protocol::Tcp, port: 4001 }.request(&any_service());
        assert_eq!((element(&body, "NewExternalPort"), element(&body, "NewProtocol")), (Some("4001"), Some("TCP")));
    }

    #[test]
    fn answers_are_told_from_refusals_and_from_garbage() {
        let action = Action::Delete { protocol: Protocol::Tcp, port: 4001 };
        let done = "<s:Body><u:DeletePortMappingResponse xmlns:u=\"urn:x\"/></s:Body>";
        assert_eq!(action.outcome(done), Ok(()));
        let fault = "<detail><UPnPError><errorCode>714</errorCode></UPnPError></detail>";
        assert_eq!(action.outcome(fault), Err(Refused::Code(714)));
        assert_eq!(action.outcome("<errorCode>none</errorCode>"), Err(Refused::Code(0)));
        for garbage in ["", "<html>", "AddPortMappingResponse"] {
            assert_eq!(action.outcome(garbage), Err(Refused::Garbage));
        }
    }

    #[test]
    fn the_external_address_is_read_however_it_is_written() {
        let told = |text: &str| external_address(&format!("<u:Response>{text}</u:Response>"));
        let ip = Some(Ipv4Addr::new(203, 0, 113, 7));
        assert_eq!(told("<NewExternalIPAddress>203.0.113.7</NewExternalIPAddress>"), ip);
        assert_eq!(
            told("<NewExternalIPAddress xmlns:dt=\"urn:x\" dt:dt=\"string\"> 203.0.113.7\n</NewExternalIPAddress>"),
            ip
        );
        for none in [
            "",
            "<NewExternalIPAddress/>",
            "<NewExternalIPAddress>0.0.0.0</NewExternalIPAddress>",
            "<NewExternalIPAddress>",
        ] {
            assert_eq!(told(none), None, "{none}");
        }
    }
}
