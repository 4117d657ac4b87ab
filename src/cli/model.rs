//! Where the model comes from: a file, the Hub, or the demo model.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use clap::Args;

use crate::cli::download;
use crate::cli::exit::user_error;
use crate::cli::interrupt::watch_for_ctrl_c;
use crate::hub::ModelName;
use crate::runtime::llama::Model;

/// The environment variable that names a model file if no flag does.
const VARIABLE: &str = "LOGITSPEC_MODEL";

/// The model that comes with the program.
const DEMO: &str = "logitspec-demo.gguf";

/// How far above the program the source tree can be: target/TRIPLE/release/examples.
const MAX_PARENTS: usize = 5;

/// Where the model comes from.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model")]
pub(super) struct ModelSource {
    /// The model: a GGUF file [env: LOGITSPEC_MODEL=] [default: the demo model]
    #[arg(short = 'm', long, alias = "model_path", value_name = "FILE")]
    model_path: Option<PathBuf>,

    #[command(flatten)]
    hub: HubArgs,
}

/// A model from the Hub.
#[derive(Debug, Args)]
struct HubArgs {
    /// A model from the Hugging Face Hub, downloaded once: -hf USER/REPO:Q8_0. Without QUANT: the
    /// only model of the repository, or else Q4_K_M, Q8_0, … (see logitspec pull --help)
    #[arg(
        long,
        visible_alias = "hf",
        alias = "hf_repo",
        value_name = "USER/REPO[:QUANT]",
        conflicts_with = "model_path"
    )]
    hf_repo: Option<ModelName>,
}

/// The model that a path, the Hub or the environment names; downloads it if necessary.
fn named(
    path: Option<&Path>,
    hub: &HubArgs,
    interrupted: &AtomicBool,
) -> anyhow::Result<Option<PathBuf>> {
    if let Some(path) = path {
        return Ok(Some(path.into()));
    }
    if let Some(name) = &hub.hf_repo {
        let fetched = download::fetch(name, false, interrupted)?;
        return Ok(Some(fetched.model().into()));
    }
    let path = std::env::var_os(VARIABLE).filter(|path| !path.is_empty());
    let path = path.map(PathBuf::from);
    // The user may have forgotten the variable: name it.
    if let Some(path) = path.as_ref().filter(|path| !path.is_file()) {
        return Err(user_error(format!(
            "{VARIABLE} names {path:?}, which is not a readable file: set it to a GGUF file, or \
             unset it"
        )));
    }
    Ok(path)
}

/// The model whose vocabulary to use. No weights are read, and there is no default.
#[derive(Debug, Args)]
pub(super) struct VocabularySource {
    /// The model whose vocabulary to use: a GGUF file. Only its header is read [env:
    /// LOGITSPEC_MODEL=]
    #[arg(short = 'm', long, alias = "model_path", value_name = "FILE")]
    model_path: Option<PathBuf>,

    #[command(flatten)]
    hub: HubArgs,

    /// The located file, so that the Hub is asked only once.
    #[arg(skip)]
    located: OnceCell<Option<PathBuf>>,
}

impl VocabularySource {
    /// The model's file, if one is named; downloads it first if necessary.
    ///
    /// # Errors
    /// If the download fails, or Ctrl-C stops it.
    pub(super) fn locate(&self) -> anyhow::Result<Option<&Path>> {
        if self.located.get().is_none() {
            let path = named(self.model_path.as_deref(), &self.hub, watch_for_ctrl_c())?;
            _ = self.located.set(path);
        }
        Ok(self.located.get().and_then(Option::as_deref))
    }
}

impl ModelSource {
    /// The model's file; downloads it first if necessary. `file` outranks the flags.
    ///
    /// # Errors
    /// If there is no model, if the download fails, or if Ctrl-C raises `interrupted`.
    pub(super) fn locate(
        &self,
        file: Option<&Path>,
        interrupted: &AtomicBool,
    ) -> anyhow::Result<PathBuf> {
        let path = file.or(self.model_path.as_deref());
        if let Some(path) = named(path, &self.hub, interrupted)? {
            return Ok(path);
        }
        let program = std::env::current_exe().ok();
        let places = demo_places(program.as_deref(), dirs::data_dir().as_deref());
        let Some(path) = places.into_iter().find(|path| path.is_file()) else {
            return Err(user_error(format!(
                "no model: name a GGUF file with -m FILE or {VARIABLE}, or one on the Hub with -hf \
                 USER/REPO (the demo model {DEMO} is not here either)"
            )));
        };
        tell_line!(
            "note: no model was named, using the demo model {}",
            path.display()
        );
        Ok(path)
    }
}

/// Prints a note if the file's trained context cannot be right.
pub(super) fn note_odd_context(model: &Model) {
    if let Some(note) = model.odd_context() {
        tell_line!("note: {note}");
    }
}

/// Where the demo model can be: beside the program, in the source tree that the program was built
/// in, or in the user's data folder.
fn demo_places(program: Option<&Path>, data: Option<&Path>) -> Vec<PathBuf> {
    let beside = program.and_then(|program| Some(canonical(program).parent()?.join(DEMO)));
    let in_tree = data_folders(program)
        .into_iter()
        .map(|folder| folder.join("models").join(DEMO));
    let installed = data.map(|folder| folder.join("logitspec").join(DEMO));
    beside.into_iter().chain(in_tree).chain(installed).collect()
}

/// The `data` folders above the program, nearest first: one of them is the source tree's if the
/// program was built there.
pub(super) fn data_folders(program: Option<&Path>) -> Vec<PathBuf> {
    let program = program.map(canonical);
    let above = program.iter().flat_map(|path| path.ancestors());
    let folders = above.skip(2).take(MAX_PARENTS);
    folders.map(|folder| folder.join("data")).collect()
}

fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_model_is_beside_the_program_in_its_tree_or_in_the_users_data() {
        let places = demo_places(
            Some(Path::new("/src/target/release/logitspec")),
            Some(Path::new("/home/me/.local/share")),
        );
        let at = |path: &str| places.iter().position(|place| *place == Path::new(path));
        let beside = at("/src/target/release/logitspec-demo.gguf").unwrap();
        let tree = at("/src/data/models/logitspec-demo.gguf").unwrap();
        let user = at("/home/me/.local/share/logitspec/logitspec-demo.gguf").unwrap();
        assert!(beside < tree && tree < user, "{places:?}");
        assert!(demo_places(None, None).is_empty());
    }
}
