//! A language server: messages with a `Content-Length`, each under a deadline.
//! `cargo run --example language_server`

use std::error::Error;
use std::io::{Read, Write};
use std::time::{Duration, Instant};
use watertight::{Child, Command, ErrorKind, Input, Output, PipeReader, PipeWriter};

/// The longest head and the longest body that are read.
const HEAD_BYTES_MAX: usize = 4 * 1024;
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

struct Server {
    child: Child,
    input: PipeWriter,
    output: PipeReader,
    /// What came behind the last message.
    read: Vec<u8>,
}

impl Server {
    fn send(&self, body: &str, by: Instant) -> Result<(), Box<dyn Error>> {
        let message = framed(body);
        self.input.send(message.as_bytes()).by(by).wait()?;
        Ok(())
    }

    fn receive(&mut self, by: Instant) -> Result<Vec<u8>, Box<dyn Error>> {
        let mut chunk = [0; 8192];
        loop {
            if let Some(body) = take_message(&mut self.read)? {
                return Ok(body);
            }
            let n = self.output.receive(&mut chunk).by(by).wait()?;
            if n == 0 {
                return Err("the server has ended".into());
            }
            self.read.extend_from_slice(&chunk[..n]);
        }
    }
}

fn start(command: &mut Command) -> Result<Server, Box<dyn Error>> {
    command.stdin(Input::piped()).stdout(Output::piped());
    let mut child = command.kill_on_drop(true).spawn()?;
    Ok(Server {
        input: child.stdin.take().expect("piped"),
        output: child.stdout.take().expect("piped"),
        child,
        read: Vec::new(),
    })
}

fn framed(body: &str) -> String {
    format!("Content-Length: {}\r\n\r\n{body}", body.len())
}

/// The body of the first message, if all of it is there.
fn take_message(read: &mut Vec<u8>) -> Result<Option<Vec<u8>>, Box<dyn Error>> {
    let Some(head) = read.windows(4).position(|window| window == b"\r\n\r\n") else {
        if read.len() > HEAD_BYTES_MAX {
            return Err("this is no head of a message".into());
        }
        return Ok(None);
    };
    let text = std::str::from_utf8(&read[..head])?;
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "));
    let length: usize = length.ok_or("a message without its length")?.parse()?;
    if length > BODY_BYTES_MAX {
        return Err("a message that is too long".into());
    }
    let (begin, end) = (head + 4, head + 4 + length);
    if read.len() < end {
        return Ok(None);
    }
    let body = read[begin..end].to_vec();
    read.drain(..end);
    Ok(Some(body))
}

/// The server: it answers each message with the message.
fn serve() -> Result<(), Box<dyn Error>> {
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let (mut read, mut chunk) = (Vec::new(), [0; 8192]);
    loop {
        while let Some(body) = take_message(&mut read)? {
            let answer = format!("{{\"answer to\":{}}}", String::from_utf8(body)?);
            output.write_all(framed(&answer).as_bytes())?;
            output.flush()?;
        }
        let n = input.read(&mut chunk)?;
        if n == 0 {
            return Ok(());
        }
        read.extend_from_slice(&chunk[..n]);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().nth(1).is_some() {
        return serve();
    }
    let mut server = start(Command::new(std::env::current_exe()?).arg("serve"))?;
    // A deadline that passes loses nothing: the messages stay whole.
    let early = server.receive(Instant::now()).expect_err("nothing came");
    let early = early.downcast_ref::<watertight::Error>();
    assert!(early.is_some_and(|error| error.kind == ErrorKind::TimedOut));
    for number in 0..100 {
        let by = Instant::now() + Duration::from_secs(60);
        server.send(&format!("{{\"id\":{number}}}"), by)?;
        let answer = String::from_utf8(server.receive(by)?)?;
        assert_eq!(answer, format!("{{\"answer to\":{{\"id\":{number}}}}}"));
    }
    // The end of its input ends a server; if not, it is asked to end.
    let _ = server.input.finish().wait()?.into_result()?;
    let a_minute = Duration::from_secs(60);
    let exit = match server.child.wait().within(a_minute).wait() {
        Ok(exit) => exit,
        Err(_) => server.child.terminate(Duration::from_secs(1)).wait()?,
    };
    assert!(exit.is_success());
    println!("100 messages were answered");
    Ok(())
}
