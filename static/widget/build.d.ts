/** Filled in when the server makes the assets (blueprints/assets.py). */

/** Where the panel's modules lie, relative to the loader: `widget/3f1c0a9be2d4/`. */
declare const PARLANCE_ASSETS: string;

/** The launcher's word in every language there is: `{"en": "Chat", ...}`. */
declare const PARLANCE_LANGUAGES: Record<string, string>;
