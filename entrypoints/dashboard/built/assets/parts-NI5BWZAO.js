//# allFunctionsCalledOnLoad
import{G as a,H as b,I as c}from"./chunk-WGKPJKOA.js";import"./chunk-4FXQYWP5.js";export{a as Activity,b as Invitations,c as NewProject};
