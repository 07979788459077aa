/* The remote framebuffer protocol, RFC 6143: what VNC speaks. Numbers are those of its sections 7.1 to 7.8. */

export const rfbVersion = 'RFB 003.008\n';
export const rfbSecurity = { none: 1 } as const;
export const rfbFromClient = {
  setPixelFormat: 0,
  setEncodings: 2,
  framebufferUpdateRequest: 3,
  keyEvent: 4,
  pointerEvent: 5,
  clientCutText: 6,
} as const;
export const rfbFromServer = {
  framebufferUpdate: 0,
  setColourMapEntries: 1,
  bell: 2,
  serverCutText: 3,
} as const;
export const rfbEncoding = { raw: 0, desktopSize: -223 } as const;

/** Four bytes a pixel: red, green, blue, and one that means nothing (section 7.4). */
export const rfbPixelFormat = Buffer.from([32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 0, 8, 16, 0, 0, 0]);
export const rfbPixelBytes = 4;
