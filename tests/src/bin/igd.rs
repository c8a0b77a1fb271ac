//! `igd INSIDE OUTSIDE MANNERS`: a router's UPnP, for machines on its inside. Forwards ports with nftables, in the tables
//! of [`parlor_tests::Internet`]; says on stdout what it has done.

#![expect(clippy::print_stdout, reason = "what it has done is told there")]

use std::{
    collections::BTreeMap,
    env,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    process::{Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};

const SERVICE: &str = "urn:schemas-upnp-org:service:WANIPConnection:1";

/// Where ports lead: protocol and port to a machine inside.
type Table = BTreeMap<(String, u16), String>;

struct Router {
    outside: String,
    manners: String,
    table: Mutex<Table>,
    /// To whom the firewall is told what the table is now.
    forward: mpsc::Sender<Table>,
}

fn main() -> Result<()> {
    let [inside, outside, manners] =
        env::args().skip(1).collect::<Vec<_>>().try_into().ok().context("igd INSIDE OUTSIDE MANNERS")?;
    let inside: Ipv4Addr = inside.parse()?;
    nft("add chain ip nat pre { type nat hook prerouting priority -100; }\n\
         add rule inet filter forward ct status dnat accept\n")?;
    let listener = TcpListener::bind((inside, 0))?;
    let port = listener.local_addr()?.port();
    let search = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 1900))?;
    search.join_multicast_v4(&Ipv4Addr::new(239, 255, 255, 250), &inside)?;
    println!("ready");
    let (forward, tables) = mpsc::channel();
    thread::spawn(move || forward_all(&tables));
    let router = Arc::new(Router { outside, manners, table: Mutex::default(), forward });
    let garbage = router.manners == "garbage";
    thread::spawn(move || answer_searches(&search, inside, port, garbage));
    for stream in listener.incoming() {
        let (router, stream) = (router.clone(), stream?);
        thread::spawn(move || router.serve(stream));
    }
    Ok(())
}

fn answer_searches(socket: &UdpSocket, inside: Ipv4Addr, port: u16, garbage: bool) {
    let mut buffer = [0; 2048];
    while let Ok((n, from)) = socket.recv_from(&mut buffer) {
        if !buffer[..n].starts_with(b"M-SEARCH") {
            continue;
        }
        let answer = format!(
            "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\
             EXT:\r\nLOCATION: http://{inside}:{port}/root.xml\r\n\r\n"
        );
        if garbage {
            let _ = socket.send_to(&[0xff; 1400], from);
            // A machine that is not the router: nobody must be led there.
            let _ = socket.send_to(b"HTTP/1.1 200 OK\r\nLOCATION: http://127.0.0.1:9464/metrics\r\n\r\n", from);
        }
        let _ = socket.send_to(answer.as_bytes(), from);
    }
}

impl Router {
    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let request = read_request(&mut stream)?;
        let (status, body) = match self.manners.as_str() {
            "mute" => {
                thread::sleep(Duration::from_secs(600));
                return None;
            }
            "endless" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").ok()?;
                while stream.write_all(&[b'<'; 4096]).is_ok() {}
                return None;
            }
            "garbage" => (200, "<root><service><serviceType>\u{1}</root>".to_owned()),
            _ if request.starts_with("GET") => (200, description()),
            _ => self.answer(&request),
        };
        let answer =
            format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).ok()
    }

    fn answer(&self, request: &str) -> (u16, String) {
        let value = |name: &str| {
            let (_, rest) = request.split_once(&format!("<{name}>"))?;
            rest.split_once('<').map(|(value, _)| value.to_owned())
        };
        let port = value("NewExternalPort").and_then(|port| port.parse().ok()).unwrap_or_default();
        let protocol = value("NewProtocol").unwrap_or_default();
        let fault = |code: u16| {
            (500, format!("<s:Fault><detail><UPnPError><errorCode>{code}</errorCode></UPnPError></detail></s:Fault>"))
        };
        let done = |name: &str, rest: &str| {
            (200, format!("<s:Body><u:{name}Response xmlns:u=\"{SERVICE}\">{rest}</u:{name}Response></s:Body>"))
        };
        let lasts_for_ever = value("NewLeaseDuration").as_deref() == Some("0");
        if request.contains("#GetExternalIPAddress") {
            let ip = format!("<NewExternalIPAddress>{}</NewExternalIPAddress>", self.outside);
            return done("GetExternalIPAddress", &ip);
        }
        let mut table = self.table.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if request.contains("#AddPortMapping") {
            match self.manners.as_str() {
                "refusing" => return fault(606),
                "permanent" if !lasts_for_ever => return fault(725),
                "conflict" if protocol == "TCP" && port == 4001 => return fault(718),
                _ => {}
            }
            let to = value("NewInternalClient").unwrap_or_default();
            table.insert((protocol.clone(), port), to);
            self.forward.send(table.clone()).ok();
            println!("add {protocol} {port}");
            return done("AddPortMapping", "");
        }
        if request.contains("#DeletePortMapping") {
            if table.remove(&(protocol.clone(), port)).is_none() {
                return fault(714);
            }
            self.forward.send(table.clone()).ok();
            println!("delete {protocol} {port}");
            return done("DeletePortMapping", "");
        }
        fault(401)
    }
}

fn read_request(stream: &mut TcpStream) -> Option<String> {
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let n = stream.read(&mut buffer).ok().filter(|n| *n > 0)?;
        request.extend(&buffer[..n]);
        let text = String::from_utf8_lossy(&request);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
            });
            if body.len() >= length.unwrap_or(0) {
                return Some(text.into_owned());
            }
        }
    }
}

fn description() -> String {
    format!(
        "<?xml version=\"1.0\"?><root xmlns=\"urn:schemas-upnp-org:device-1-0\"><device><deviceType>\
         urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType><serviceList><service><serviceType>\
         urn:schemas-upnp-org:service:WANCommonInterfaceConfig:1</serviceType><controlURL>/common</controlURL></service>\
         <service><serviceType>{SERVICE}</serviceType><serviceId>urn:upnp-org:serviceId:WANIPConn1</serviceId>\
         <controlURL>/ctl</controlURL></service></serviceList></device></root>"
    )
}

/// Many changes at once are one for the firewall, which takes a while for each.
fn forward_all(tables: &mpsc::Receiver<Table>) {
    while let Ok(table) = tables.recv() {
        forward(&tables.try_iter().last().unwrap_or(table));
    }
}

fn forward(table: &Table) {
    let mut rules = "flush chain ip nat pre\n".to_owned();
    for ((protocol, port), to) in table {
        let protocol = protocol.to_lowercase();
        rules += &format!("add rule ip nat pre iifname eth0 {protocol} dport {port} dnat to {to}:{port}\n");
    }
    if let Err(error) = nft(&rules) {
        println!("nft: {error}");
    }
}

fn nft(rules: &str) -> Result<()> {
    let mut process = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn()?;
    process.stdin.take().context("stdin is piped")?.write_all(rules.as_bytes())?;
    anyhow::ensure!(process.wait()?.success(), "nft refuses:\n{rules}");
    Ok(())
}
