import { createTheme } from '@mantine/core';

/** Shades are the darkest that still look lively: white text on them has a contrast above 4.5. */
export const theme = createTheme({
  primaryColor: 'indigo',
  primaryShade: { light: 8, dark: 8 },
  colors: {
    dark: [
      '#e6e9f0',
      '#b9c0cf',
      '#a0a8b9',
      '#7c859a',
      '#3a4252',
      '#2b3140',
      '#1e2430',
      '#181c26',
      '#12151d',
      '#0c0f15',
    ],
  },
  fontFamily: 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif',
  fontFamilyMonospace: 'ui-monospace, "SF Mono", "Cascadia Mono", "DejaVu Sans Mono", monospace',
  defaultRadius: 'sm',
  cursorType: 'pointer',
  respectReducedMotion: true,
});
