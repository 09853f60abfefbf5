//# allFunctionsCalledOnLoad
import{R as a,S as b,T as c}from"./chunk-4VIVRLVM.js";import"./chunk-RXIWNDA6.js";export{a as Activity,b as Invitations,c as NewProject};
