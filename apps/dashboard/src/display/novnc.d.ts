/* What is used of noVNC (docs/API.md of its package), which brings no types. */
declare module '@novnc/novnc' {
  export default class RFB extends EventTarget {
    constructor(target: HTMLElement, channel: WebSocket, options?: { readonly shared?: boolean });
    scaleViewport: boolean;
    background: string;
    /** 0 to 9, of pictures that lose something. */
    qualityLevel: number;
    sendCtrlAltDel(): void;
    /** @param code of the key as `KeyboardEvent.code` */
    sendKey(keysym: number, code: string, down?: boolean): void;
    focus(): void;
    disconnect(): void;
  }
}
