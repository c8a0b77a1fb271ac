//! Finds libvpx (feature `vpx`): makes Rust of its headers, whichever version they are of, and links the static library
//! where there is one, so that whoever gets the program needs no libvpx.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "vpx")]
    if let Err(error) = vpx::bind() {
        println!(
            "cargo::error=libvpx, for VP8 and VP9: {error}. Debian and Ubuntu have it in libvpx-dev and the rest in \
             libclang-dev and pkg-config. `--no-default-features` builds without it, with H.264 alone."
        );
    }
}

#[cfg(feature = "vpx")]
mod vpx {
    use std::{env, error::Error, fs, path::Path};

    const HEADERS: &str = "#include <vpx/vpx_encoder.h>\n#include <vpx/vp8cx.h>\n\
                           #include <vpx/vpx_decoder.h>\n#include <vpx/vp8dx.h>\n";

    /// What `codec/vpx/raw.rs` calls; the types follow from it.
    const FUNCTIONS: &str = "vpx_codec_(vp[89]_[cd]x|enc_init_ver|enc_config_default|enc_config_set|encode|get_cx_data|\
                             dec_init_ver|decode|get_frame|control_|destroy|err_to_string)|vpx_img_wrap";
    const CONSTANTS: &str = "VPX_(ENCODER|DECODER)_ABI_VERSION|VPX_DL_REALTIME|VPX_EFLAG_FORCE_KF|VPX_FRAME_IS_KEY";
    /// Ids of controls, which C passes as bare integers.
    const ENUMS: &str = "vp8e_enc_control_id|vp9e_tune_content|aq_mode";

    pub(super) fn bind() -> Result<(), Box<dyn Error>> {
        // The oldest with every control that is used.
        let library = pkg_config::Config::new().atleast_version("1.8").cargo_metadata(false).probe("vpx")?;
        let include = library.include_paths.iter().map(|path| format!("-I{}", path.display()));
        let bindings = bindgen::builder()
            .header_contents("parlor_vpx.h", HEADERS)
            .clang_args(include)
            .allowlist_function(FUNCTIONS)
            .allowlist_var(CONSTANTS)
            .allowlist_type(ENUMS)
            // Numbers, so that one that a newer library gives is not undefined behaviour.
            .default_enum_style(bindgen::EnumVariation::Consts)
            .prepend_enum_name(false)
            .layout_tests(false)
            .generate_comments(false)
            .generate()?;
        // This version of bindgen, which the camera's crate has in the tree, writes the 2021 edition.
        let bindings = bindings.to_string().replace("extern \"C\" {", "unsafe extern \"C\" {");
        fs::write(Path::new(&env::var("OUT_DIR")?).join("vpx.rs"), bindings)?;
        link(&library)
    }

    fn link(library: &pkg_config::Library) -> Result<(), Box<dyn Error>> {
        let archive = library.link_paths.iter().map(|directory| directory.join("libvpx.a"));
        // The compiler knows where the system's libraries are; where it finds none it says the bare name.
        let asked = cc::Build::new().try_get_compiler()?.to_command().arg("-print-file-name=libvpx.a").output()?;
        let systems = Path::new(String::from_utf8(asked.stdout)?.trim()).to_owned();
        for directory in &library.link_paths {
            println!("cargo::rustc-link-search=native={}", directory.display());
        }
        match archive.chain([systems]).find(|archive| archive.is_absolute() && archive.exists()) {
            Some(archive) => {
                let directory = archive.parent().ok_or("an archive without a directory")?;
                println!("cargo::rustc-link-search=native={}", directory.display());
                println!("cargo::rustc-link-lib=static=vpx");
            }
            None => println!("cargo::rustc-link-lib=vpx"),
        }
        Ok(())
    }
}
