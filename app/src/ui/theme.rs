//! How Parlor looks: colours, fonts, sizes. Nothing here knows what is drawn with them.

use std::sync::Arc;

use egui::{
    Color32, Context, CornerRadius, FontData, FontDefinitions, FontFamily, FontId, Margin, Stroke, TextStyle, Visuals,
    epaint::Shadow, style::WidgetVisuals,
};

use crate::settings;

/// The smallest side of anything that is touched, in points.
pub(super) const TOUCH: f32 = 44.0;
/// The distance between things that belong together; others are multiples of it.
pub(super) const GAP: f32 = 8.0;
/// The corners of buttons, rows and fields.
pub(super) const RADIUS: u8 = 12;
/// From this width on, people and what happens with them stand side by side.
pub(super) const WIDE: f32 = 760.0;

/// The colours of one theme.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Palette {
    pub background: Color32,
    pub surface: Color32,
    pub hovered: Color32,
    pub border: Color32,
    pub text: Color32,
    pub muted: Color32,
    pub accent: Color32,
    pub success: Color32,
    pub warning: Color32,
    pub danger: Color32,
}

/// Text on a coloured button, in every theme.
pub(super) const ON_COLOUR: Color32 = Color32::WHITE;

const LIGHT: Palette = Palette {
    background: Color32::from_rgb(0xF5, 0xF6, 0xF9),
    surface: Color32::from_rgb(0xFF, 0xFF, 0xFF),
    hovered: Color32::from_rgb(0xEA, 0xED, 0xF4),
    border: Color32::from_rgb(0xDC, 0xE0, 0xE9),
    text: Color32::from_rgb(0x17, 0x1A, 0x21),
    muted: Color32::from_rgb(0x5F, 0x68, 0x78),
    accent: Color32::from_rgb(0x3B, 0x5B, 0xDB),
    success: Color32::from_rgb(0x20, 0x8A, 0x56),
    warning: Color32::from_rgb(0xB5, 0x6B, 0x0B),
    danger: Color32::from_rgb(0xD1, 0x3A, 0x41),
};

const DARK: Palette = Palette {
    background: Color32::from_rgb(0x14, 0x16, 0x1B),
    surface: Color32::from_rgb(0x1E, 0x21, 0x29),
    hovered: Color32::from_rgb(0x2A, 0x2E, 0x38),
    border: Color32::from_rgb(0x32, 0x37, 0x43),
    text: Color32::from_rgb(0xED, 0xEF, 0xF4),
    muted: Color32::from_rgb(0x9B, 0xA4, 0xB4),
    accent: Color32::from_rgb(0x55, 0x78, 0xF0),
    success: Color32::from_rgb(0x2F, 0xA3, 0x6B),
    warning: Color32::from_rgb(0xE0, 0xA0, 0x3B),
    danger: Color32::from_rgb(0xE0, 0x4B, 0x50),
};

/// A call is dark in every theme, so that nothing outshines the picture.
pub(super) const CALL: Palette = Palette { background: Color32::from_rgb(0x0D, 0x0F, 0x13), ..DARK };

impl Palette {
    /// The colours of the theme in use.
    pub(super) fn of(ctx: &Context) -> &'static Self {
        match ctx.theme() {
            egui::Theme::Dark => &DARK,
            egui::Theme::Light => &LIGHT,
        }
    }

    /// Ready-made widgets in these colours.
    pub(super) fn visuals(&self, base: Visuals) -> Visuals {
        let widget = |fill: Color32, border: Color32| WidgetVisuals {
            bg_fill: fill,
            weak_bg_fill: fill,
            bg_stroke: Stroke::new(1.0, border),
            corner_radius: CornerRadius::same(RADIUS),
            fg_stroke: Stroke::new(1.5, self.text),
            expansion: 0.0,
        };
        let mut visuals = base;
        visuals.override_text_color = Some(self.text);
        visuals.weak_text_color = Some(self.muted);
        visuals.panel_fill = self.background;
        visuals.window_fill = self.surface;
        visuals.window_stroke = Stroke::new(1.0, self.border);
        visuals.window_corner_radius = CornerRadius::same(RADIUS);
        visuals.menu_corner_radius = CornerRadius::same(RADIUS);
        visuals.popup_shadow = Shadow { offset: [0, 4], blur: 16, spread: 0, color: Color32::from_black_alpha(60) };
        visuals.extreme_bg_color = self.surface;
        visuals.text_edit_bg_color = Some(self.surface);
        visuals.selection.bg_fill = self.accent.gamma_multiply(0.4);
        visuals.selection.stroke = Stroke::new(1.5, self.accent);
        visuals.widgets.noninteractive = widget(self.surface, self.border);
        visuals.widgets.inactive = widget(self.surface, self.border);
        visuals.widgets.hovered = widget(self.hovered, self.border);
        visuals.widgets.active = widget(self.hovered, self.accent);
        visuals.widgets.open = widget(self.hovered, self.border);
        visuals.interact_cursor = Some(egui::CursorIcon::PointingHand);
        visuals
    }
}

/// Gives the context Parlor's fonts, sizes and colours. Fonts can be used from the next frame on.
pub(super) fn install(ctx: &Context) {
    ctx.set_fonts(fonts());
    for (theme, palette, base) in
        [(egui::Theme::Light, &LIGHT, Visuals::light()), (egui::Theme::Dark, &DARK, Visuals::dark())]
    {
        ctx.style_mut_of(theme, |style| {
            style.visuals = palette.visuals(base);
            style.text_styles = [
                (TextStyle::Small, regular(13.0)),
                (TextStyle::Body, regular(15.0)),
                (TextStyle::Button, regular(15.0)),
                (TextStyle::Heading, semibold(22.0)),
                (TextStyle::Monospace, FontId::monospace(14.0)),
            ]
            .into();
            style.spacing.item_spacing = egui::vec2(GAP, GAP);
            style.spacing.button_padding = egui::vec2(14.0, 10.0);
            style.spacing.interact_size = egui::vec2(TOUCH, TOUCH);
            style.spacing.menu_margin = Margin::same(6);
            style.spacing.combo_height = 320.0;
            style.interaction.selectable_labels = false;
        });
    }
}

/// Follows what the person chose.
pub(super) fn set(ctx: &Context, theme: settings::Theme) {
    let preference = match theme {
        settings::Theme::System => egui::ThemePreference::System,
        settings::Theme::Light => egui::ThemePreference::Light,
        settings::Theme::Dark => egui::ThemePreference::Dark,
    };
    ctx.set_theme(preference);
}

pub(super) const fn regular(size: f32) -> FontId {
    FontId::proportional(size)
}

pub(super) fn semibold(size: f32) -> FontId {
    FontId::new(size, FontFamily::Name("semibold".into()))
}

pub(super) fn icon(size: f32) -> FontId {
    FontId::new(size, FontFamily::Name("icons".into()))
}

pub(super) fn filled_icon(size: f32) -> FontId {
    FontId::new(size, FontFamily::Name("filled icons".into()))
}

const INTER: &[u8] = include_bytes!("../../../assets/fonts/Inter-Regular.otf");
const INTER_SEMIBOLD: &[u8] = include_bytes!("../../../assets/fonts/Inter-SemiBold.otf");
const NOTO_SANS_SC: &[u8] = include_bytes!("../../../assets/fonts/NotoSansSC-GB2312.otf");

/// Inter first, then Chinese, then egui's own fonts (emoji): those have signs of their own for Chinese punctuation.
fn fonts() -> FontDefinitions {
    let mut fonts = FontDefinitions::default();
    for (name, data) in [
        ("Inter", FontData::from_static(INTER)),
        ("Inter SemiBold", FontData::from_static(INTER_SEMIBOLD)),
        ("Noto Sans SC", FontData::from_static(NOTO_SANS_SC)),
        ("Phosphor", egui_phosphor::Variant::Regular.font_data()),
        ("Phosphor Fill", egui_phosphor::Variant::Fill.font_data()),
    ] {
        fonts.font_data.insert(name.to_owned(), Arc::new(data));
    }
    let fallback = fonts.families.get(&FontFamily::Proportional).cloned().unwrap_or_default();
    let family = |first: &str| -> Vec<String> {
        let mut family = vec![first.to_owned(), "Noto Sans SC".to_owned()];
        family.extend(fallback.iter().cloned());
        family
    };
    let families = [
        (FontFamily::Proportional, family("Inter")),
        (FontFamily::Name("semibold".into()), family("Inter SemiBold")),
        (FontFamily::Name("icons".into()), vec!["Phosphor".to_owned()]),
        (FontFamily::Name("filled icons".into()), vec!["Phosphor Fill".to_owned()]),
    ];
    fonts.families.extend(families);
    fonts
}
