//! The shader and its three textures, one per plane. Driven by the paint callback on the UI thread, where the OpenGL
//! context is current.

use eframe::{
    egui_glow::ShaderVersion,
    glow::{self, HasContext as _, PixelUnpackData},
};
use egui::Rect;

/// Four corners without any buffer: the vertex number says which.
const VERTEX: &str = r"
uniform vec4 u_uv;
uniform vec2 u_half_size;
out vec2 v_uv;
out vec2 v_position;
void main() {
    vec2 corner = vec2(float(gl_VertexID & 1), float(gl_VertexID >> 1));
    v_uv = u_uv.xy + vec2(corner.x, 1.0 - corner.y) * u_uv.zw;
    v_position = (corner * 2.0 - 1.0) * u_half_size;
    gl_Position = vec4(corner * 2.0 - 1.0, 0.0, 1.0);
}
";

/// BT.709, limited range (ITU-R BT.709-6, section 3), premultiplied by the coverage of the rounded corners.
const FRAGMENT: &str = r"
uniform sampler2D u_y;
uniform sampler2D u_cb;
uniform sampler2D u_cr;
uniform vec2 u_half_size;
uniform float u_radius;
in vec2 v_uv;
in vec2 v_position;
out vec4 f_colour;
void main() {
    float y = (texture(u_y, v_uv).r - 16.0 / 255.0) * (255.0 / 219.0);
    float cb = (texture(u_cb, v_uv).r - 128.0 / 255.0) * (255.0 / 224.0);
    float cr = (texture(u_cr, v_uv).r - 128.0 / 255.0) * (255.0 / 224.0);
    vec3 colour = clamp(vec3(y + 1.5748 * cr, y - 0.1873 * cb - 0.4681 * cr, y + 1.8556 * cb), 0.0, 1.0);
    float coverage = 1.0;
    if (u_radius > 0.0) {
        vec2 beyond = abs(v_position) - u_half_size + u_radius;
        coverage = clamp(u_radius - length(max(beyond, 0.0)) + 0.5, 0.0, 1.0);
    }
    f_colour = vec4(colour, 1.0) * coverage;
}
";

/// What one video view holds on the GPU.
pub(super) struct Gpu {
    program: glow::Program,
    vertex_array: glow::VertexArray,
    textures: [glow::Texture; 3],
    uv: Option<glow::UniformLocation>,
    half_size: Option<glow::UniformLocation>,
    radius: Option<glow::UniformLocation>,
    /// Width and height of the luma texture; zero before the first upload.
    size: (u32, u32),
}

#[expect(unsafe_code, reason = "OpenGL is a C interface")]
impl Gpu {
    pub(super) fn new(gl: &glow::Context) -> Result<Self, String> {
        let version = ShaderVersion::get(gl);
        if !version.is_new_shader_interface() {
            return Err(format!("{version:?} is too old"));
        }
        let header = format!("{}\n{}", version.version_declaration(), "precision mediump float;\n");
        let header = if version.is_embedded() { header } else { version.version_declaration().to_owned() };
        // SAFETY: eframe made the context current on this thread, and every object is used with this context alone.
        unsafe {
            let program = gl.create_program()?;
            let mut shaders = Vec::with_capacity(2);
            for (kind, source) in [(glow::VERTEX_SHADER, VERTEX), (glow::FRAGMENT_SHADER, FRAGMENT)] {
                let shader = gl.create_shader(kind)?;
                gl.shader_source(shader, &format!("{header}{source}"));
                gl.compile_shader(shader);
                if !gl.get_shader_compile_status(shader) {
                    return Err(gl.get_shader_info_log(shader));
                }
                gl.attach_shader(program, shader);
                shaders.push(shader);
            }
            gl.link_program(program);
            if !gl.get_program_link_status(program) {
                return Err(gl.get_program_info_log(program));
            }
            for shader in shaders {
                gl.detach_shader(program, shader);
                gl.delete_shader(shader);
            }
            gl.use_program(Some(program));
            for (unit, name) in (0..).zip(["u_y", "u_cb", "u_cr"]) {
                gl.uniform_1_i32(gl.get_uniform_location(program, name).as_ref(), unit);
            }
            Ok(Self {
                program,
                vertex_array: gl.create_vertex_array()?,
                textures: [new_texture(gl)?, new_texture(gl)?, new_texture(gl)?],
                uv: gl.get_uniform_location(program, "u_uv"),
                half_size: gl.get_uniform_location(program, "u_half_size"),
                radius: gl.get_uniform_location(program, "u_radius"),
                size: (0, 0),
            })
        }
    }

    /// Puts luma and chroma planes (half as large in both directions, rounded up) into the textures.
    pub(super) fn upload(&mut self, gl: &glow::Context, size: (u32, u32), planes: [&[u8]; 3]) {
        let chroma = (size.0.div_ceil(2), size.1.div_ceil(2));
        for ((texture, plane), (width, height)) in self.textures.iter().zip(planes).zip([size, chroma, chroma]) {
            assert_eq!(plane.len(), width as usize * height as usize, "OpenGL reads exactly this many bytes");
            let (width, height) = (width as i32, height as i32);
            let pixels = PixelUnpackData::Slice(Some(plane));
            // SAFETY: the context is current (see `new`); the plane has as many bytes as OpenGL will read, as was just
            // asserted, because rows are not padded.
            unsafe {
                gl.bind_texture(glow::TEXTURE_2D, Some(*texture));
                gl.pixel_store_i32(glow::UNPACK_ALIGNMENT, 1);
                if self.size == size {
                    let (format, kind) = (glow::RED, glow::UNSIGNED_BYTE);
                    gl.tex_sub_image_2d(glow::TEXTURE_2D, 0, 0, 0, width, height, format, kind, pixels);
                } else {
                    let (internal, format, kind) = (glow::R8 as i32, glow::RED, glow::UNSIGNED_BYTE);
                    gl.tex_image_2d(glow::TEXTURE_2D, 0, internal, width, height, 0, format, kind, pixels);
                }
            }
        }
        self.size = size;
    }

    /// Draws the part `uv` of the picture into the whole viewport of `size` pixels.
    pub(super) fn draw(&self, gl: &glow::Context, uv: Rect, size: [f32; 2], radius: f32) {
        if self.size == (0, 0) {
            return;
        }
        // SAFETY: the context is current (see `new`), and egui restores its own state after a paint callback.
        unsafe {
            gl.use_program(Some(self.program));
            gl.bind_vertex_array(Some(self.vertex_array));
            for (unit, texture) in (glow::TEXTURE0..).zip(&self.textures) {
                gl.active_texture(unit);
                gl.bind_texture(glow::TEXTURE_2D, Some(*texture));
            }
            gl.uniform_4_f32(self.uv.as_ref(), uv.min.x, uv.min.y, uv.width(), uv.height());
            gl.uniform_2_f32(self.half_size.as_ref(), size[0] / 2.0, size[1] / 2.0);
            gl.uniform_1_f32(self.radius.as_ref(), radius);
            if radius <= 0.0 {
                gl.disable(glow::BLEND);
            }
            gl.draw_arrays(glow::TRIANGLE_STRIP, 0, 4);
            gl.enable(glow::BLEND);
            gl.active_texture(glow::TEXTURE0);
        }
    }

    pub(super) fn destroy(self, gl: &glow::Context) {
        // SAFETY: the context is current (see `new`), and the objects are used no more.
        unsafe {
            gl.delete_program(self.program);
            gl.delete_vertex_array(self.vertex_array);
            for texture in self.textures {
                gl.delete_texture(texture);
            }
        }
    }
}

#[expect(unsafe_code, reason = "OpenGL is a C interface")]
fn new_texture(gl: &glow::Context) -> Result<glow::Texture, String> {
    // SAFETY: only called by `Gpu::new`, where the context is current.
    unsafe {
        let texture = gl.create_texture()?;
        gl.bind_texture(glow::TEXTURE_2D, Some(texture));
        for (parameter, value) in [
            (glow::TEXTURE_MIN_FILTER, glow::LINEAR),
            (glow::TEXTURE_MAG_FILTER, glow::LINEAR),
            (glow::TEXTURE_WRAP_S, glow::CLAMP_TO_EDGE),
            (glow::TEXTURE_WRAP_T, glow::CLAMP_TO_EDGE),
        ] {
            gl.tex_parameter_i32(glow::TEXTURE_2D, parameter, value as i32);
        }
        Ok(texture)
    }
}
