//! Where the command line writes: results to stdout, complaints to stderr, events wherever the cursor is.
//!
//! Events come from the client's own thread at any time. Without a terminal they go to stdout at once, so
//! that they stand before the result of the command that came after them. With one they go through the line
//! editor, which draws the prompt again below them.

use std::io::{ErrorKind, Write};
use std::sync::mpsc::{self, Sender};

use rustyline::ExternalPrinter;

/// Takes whole texts; each call ends with a line end.
pub trait Output: Send + Sync {
    /// A result.
    fn line(&self, text: &str);
    /// A complaint, or what is only meant for a person.
    fn complaint(&self, text: &str);
    /// Something that happened by itself.
    fn event(&self, text: &str) {
        self.line(text);
    }
}

/// stdout and stderr of this process.
#[derive(Default)]
pub struct Streams {
    /// Events on their way to the line editor.
    to_editor: Option<Sender<String>>,
}

impl Streams {
    /// Events go through `printer` and so never tear the line that is being edited.
    ///
    /// The printer blocks while the editor is between two lines, and whoever reads the server's replies must
    /// not: hence a thread and a queue of its own.
    pub fn with_editor(mut printer: impl ExternalPrinter + Send + 'static) -> Streams {
        let (sender, events) = mpsc::channel::<String>();
        std::thread::spawn(move || {
            for event in events {
                if printer.print(format!("{event}\n")).is_err() {
                    return;
                }
            }
        });
        Streams { to_editor: Some(sender) }
    }
}

impl Output for Streams {
    fn line(&self, text: &str) {
        let mut stdout = std::io::stdout().lock();
        let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.write_all(b"\n"));
        if let Err(error) = written.and_then(|()| stdout.flush())
            && error.kind() == ErrorKind::BrokenPipe
        {
            // `serval-cli ls -R / | head` has seen enough: end as other programs do on SIGPIPE.
            std::process::exit(141);
        }
    }

    fn complaint(&self, text: &str) {
        // If stderr is closed there is nobody left to tell.
        let _ = writeln!(std::io::stderr(), "{text}");
    }

    fn event(&self, text: &str) {
        match &self.to_editor {
            Some(sender) if sender.send(text.to_string()).is_ok() => {}
            _ => self.line(text),
        }
    }
}

#[cfg(test)]
pub mod capture {
    use std::sync::Mutex;

    use super::Output;

    /// Keeps what was written: (stdout, stderr).
    #[derive(Default)]
    pub struct Captured(Mutex<(String, String)>);

    impl Captured {
        /// What came since the last call.
        pub fn take(&self) -> (String, String) {
            std::mem::take(&mut self.0.lock().expect("no writer panics"))
        }
    }

    impl Output for Captured {
        fn line(&self, text: &str) {
            let mut both = self.0.lock().expect("no writer panics");
            both.0.push_str(text);
            both.0.push('\n');
        }

        fn complaint(&self, text: &str) {
            let mut both = self.0.lock().expect("no writer panics");
            both.1.push_str(text);
            both.1.push('\n');
        }
    }
}
