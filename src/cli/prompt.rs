//! The loop for a person at a terminal: line editing, history across runs, completion.

use std::path::PathBuf;
use std::sync::Arc;

use rustyline::config::BellStyle;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{ColorMode, CompletionType, Config, Editor};

use super::complete::Completion;
use super::output::Streams;
use super::shell::{Flow, Shell};

/// Exit code on Ctrl-C, as for every program that SIGINT ends.
const INTERRUPTED: u8 = 130;
const HISTORY_LINES_MAX: usize = 1000;

/// The line editor and where it keeps what was typed.
pub struct Prompt {
    editor: Editor<Completion, FileHistory>,
    history: Option<PathBuf>,
}

impl Prompt {
    /// # Errors
    ///
    /// The terminal cannot be edited on (`TERM=dumb` can; then lines are simply read).
    pub fn open() -> rustyline::Result<Prompt> {
        let config = Config::builder()
            .completion_type(CompletionType::List)
            .color_mode(ColorMode::Disabled)
            .bell_style(BellStyle::None)
            .max_history_size(HISTORY_LINES_MAX)?
            .history_ignore_space(true)
            .build();
        let mut editor = Editor::with_config(config)?;
        let history = std::env::home_dir().map(|home| home.join(".zkcli_history"));
        if let Some(file) = &history {
            // There is none before the first run, and a bad one is not worth a word.
            let _ = editor.load_history(file);
        }
        Ok(Prompt { editor, history })
    }

    /// Where commands write, so that events do not tear the line that is being edited.
    pub fn output(&mut self) -> Streams {
        match self.editor.create_external_printer() {
            Ok(printer) => Streams::with_editor(printer),
            Err(_) => Streams::default(),
        }
    }

    /// Reads and runs lines until the last; the exit code.
    pub fn run(mut self, mut shell: Shell) -> u8 {
        self.editor.set_helper(Some(Completion::new(Arc::clone(shell.client()))));
        shell.settle();
        let code = loop {
            match self.editor.readline(&shell.prompt()) {
                Ok(line) => {
                    self.remember(&line);
                    if shell.run_line(&line) == Flow::Quit {
                        break shell.exit_code();
                    }
                    if let Some(completion) = self.editor.helper() {
                        completion.use_client(Arc::clone(shell.client()));
                    }
                }
                Err(ReadlineError::Interrupted) => break INTERRUPTED,
                // Ctrl-D, or the terminal is gone.
                Err(_) => break shell.exit_code(),
            }
        };
        if let Some(file) = &self.history {
            // Nobody can do anything about it now.
            let _ = self.editor.save_history(file);
        }
        shell.leave();
        code
    }

    /// Passwords have no place in a file.
    fn remember(&mut self, line: &str) {
        if !line.trim_start().starts_with("addauth") {
            let _ = self.editor.add_history_entry(line);
        }
    }
}
